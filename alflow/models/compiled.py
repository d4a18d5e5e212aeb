"""Whether compiled kernels can be had, and where their machine code is kept.

Numba is imported when something is first computed on a CPU, not before. Where that fails (a new
Python, an unusual processor) slower libraries do the work, and one warning says so.
`ALFLOW_KERNELS=torch` does without compiled kernels.
"""

import functools
import hashlib
import importlib
import os
import warnings
from pathlib import Path
from typing import Any

SWITCH = "ALFLOW_KERNELS"


@functools.cache
def usable(what: str, modules: tuple[str, ...], sources: tuple[str, ...]) -> bool:
    """Import modules of kernels, once; warn where that does not work.

    Args:
        what: What they are for, as the beginning of the warning.
        modules: Names of the modules.
        sources: Files of the kernels beside this one.
    """
    try:
        _import_all(modules, cache_folder(sources))
    except Exception as error:  # noqa: BLE001 - whatever is broken, the slow way still works
        warnings.warn(
            f"the compiled kernels {what} cannot be used ({type(error).__name__}: {error}); "
            "what is used instead is about ten times slower. "
            f"Try `pip install --upgrade numba`, or set {SWITCH}=torch to accept it.",
            RuntimeWarning,
            stacklevel=4,
        )
        return False
    return True


def warm_up() -> None:
    """Let Numba import what it needs before its first function, which takes half a second."""
    if is_switched_off():
        return
    target: Any = importlib.import_module("numba.core.registry").cpu_target
    target.target_context.refresh()
    target.typing_context.refresh()


def is_switched_off() -> bool:
    """Whether the user wants no compiled kernels."""
    return os.environ.get(SWITCH, "").lower() == "torch"


def cache_folder(sources: tuple[str, ...]) -> Path:
    """Where machine code is kept: a folder for these files under the user's cache.

    Numba does not notice edits in files that a kernel only calls: all are in the folder's name.
    """
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    digest = hashlib.sha256()
    for name in sources:
        digest.update(Path(__file__).parent.joinpath(name).read_bytes())
    return Path(home).expanduser() / "alflow" / f"kernels-{digest.hexdigest()[:12]}"


def _import_all(modules: tuple[str, ...], folder: Path) -> None:
    """Import with Numba's cache in a folder, unless the user chose one."""
    config: Any = importlib.import_module("numba.core.config")
    chosen = config.CACHE_DIR
    if not chosen and _writable(folder):
        config.CACHE_DIR = str(folder)
    try:
        for module in modules:
            importlib.import_module(module)
    finally:
        config.CACHE_DIR = chosen


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
