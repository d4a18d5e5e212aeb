"""What a worker finds where it runs: the body of the tasks by which a site is tried out.

Their kind is `probe:POOL`, so that each pool of a site can be asked by name.
"""

import contextlib
import fcntl
import importlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from alflow.core.protocols import TaskContext
from alflow.core.tasks import TaskSpec
from alflow.execution.devices import visible_devices
from alflow.execution.machine import gpus, usable_cores

KIND = "probe"
COMPARED = ("alflow", "parsl", "torch", "pyscf", "ase", "numpy")
"""Distributions whose versions must be the same everywhere."""

_SCRATCH_BYTES = 16_000_000
_REFERENCE_TIMEOUT_S = 600


def run(spec: TaskSpec, context: TaskContext) -> Mapping[str, Any]:
    """Look around; with `threads` in the settings, also time a reference calculation.

    Settings: `modules` (to import), `programs` (to find on PATH), `locked` (a file that the manager
    has locked), `threads` (numbers of threads to time).
    """
    del context
    begun = time.time()
    settings = spec.settings
    return {
        "begun": begun,
        "host": platform.node(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "versions": versions(),
        "imports": {name: _imported(name) for name in settings.get("modules", ())},
        "programs": {name: shutil.which(name) for name in settings.get("programs", ())},
        "cores": usable_cores(),
        "devices": visible_devices(os.environ),
        "gpus": gpus(),
        "scratch": _scratch(),
        "lock": _lock(settings.get("locked", "")),
        "reference_s": _reference(settings.get("threads", ())),
    }


def versions() -> dict[str, str | None]:
    """Versions of `COMPARED` here; None for what is not installed."""
    found: dict[str, str | None] = {}
    for name in COMPARED:
        found[name] = None
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _imported(name: str) -> str:
    """Empty if a module can be imported, else why not."""
    try:
        importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - whatever a module raises is what is told
        return f"{type(error).__name__}: {error}"
    return ""


def _scratch() -> dict[str, Any]:
    """Where temporary files go, how much is free there, and how fast it takes a file."""
    folder = tempfile.gettempdir()
    found: dict[str, Any] = {
        "folder": folder,
        "error": "",
        "free_GB": None,
        "MB_per_s": None,
    }
    try:
        found["free_GB"] = round(shutil.disk_usage(folder).free / 1e9, 1)
        begun = time.perf_counter()
        with tempfile.TemporaryFile() as file:
            file.write(os.urandom(_SCRATCH_BYTES))
            file.flush()
            os.fsync(file.fileno())
        found["MB_per_s"] = round(_SCRATCH_BYTES / 1e6 / (time.perf_counter() - begun), 1)
    except OSError as error:
        found["error"] = str(error)
    return found


def _lock(path: str) -> str:
    """Whether a lock that another process holds keeps this one out: held, free, or why not."""
    if not path:
        return ""
    try:
        with Path(path).open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "held"
    except OSError as error:
        return str(error)
    return "free"


def _reference(threads: Sequence[int]) -> dict[str, float | str]:
    """Time of a reference calculation [s], or why there is none, by number of threads."""
    found: dict[str, float | str] = {}
    for count in threads:
        environment = {**os.environ, "OMP_NUM_THREADS": str(count)}
        command = [sys.executable, "-P", "-m", "alflow.labelers.reference"]
        try:
            done = subprocess.run(  # noqa: S603 - alflow's own command, no shell
                command,
                check=True,
                capture_output=True,
                text=True,
                env=environment,
                timeout=_REFERENCE_TIMEOUT_S,
            )
            found[str(count)] = float(done.stdout.split()[-1])
        except subprocess.CalledProcessError as error:
            found[str(count)] = (error.stderr or "").strip().rpartition("\n")[2] or str(
                error
            )
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            found[str(count)] = f"{type(error).__name__}: {error}"
    return found
