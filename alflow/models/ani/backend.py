"""Whether the compiled kernels can be had, and where their machine code is kept.

Numba is imported when a potential is first evaluated in float32 on a CPU, not before. Where that
fails (a new Python, an unusual processor) torch does the work, and one warning says so.
"""

import functools
import hashlib
import importlib
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alflow.models.ani.constants import AniConstants
    from alflow.models.ani.fused import FusedDescriptor

SWITCH = "ALFLOW_KERNELS"
"""Environment variable that names an implementation; see `alflow.models.ani.choice`."""
SOURCES = ("lanes.py", "kernels.py", "network_kernels.py")
"""Numba does not notice edits in files that a kernel only calls: all are in the folder's name."""


def cache_folder() -> Path:
    """Where machine code is kept: a folder for these kernels under the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return Path(home).expanduser() / "alflow" / f"kernels-{digest.hexdigest()[:12]}"


def fused_descriptor(
    constants: "AniConstants", n_elements: int
) -> "FusedDescriptor | None":
    """The descriptor on compiled kernels, or None where torch has to do."""
    if not _importable():
        return None
    from alflow.models.ani.fused import FusedDescriptor

    return FusedDescriptor(constants, n_elements)


@functools.cache
def _importable() -> bool:
    """Import the kernels, once; warn where that does not work."""
    try:
        _import_kernels()
    except Exception as error:  # noqa: BLE001 - whatever is broken, torch still works
        warnings.warn(
            f"the compiled kernels of ANI potentials cannot be used "
            f"({type(error).__name__}: {error}); torch is, which is about ten times slower. "
            f"Try `pip install --upgrade numba`, or set {SWITCH}=torch to accept it.",
            RuntimeWarning,
            stacklevel=4,
        )
        return False
    return True


def _import_kernels() -> None:
    """Import the kernels with Numba's cache where `cache_folder` says, unless the user chose."""
    config: Any = importlib.import_module("numba.core.config")
    chosen = config.CACHE_DIR
    if not chosen:
        folder = cache_folder()
        if _writable(folder):
            config.CACHE_DIR = str(folder)
    try:
        import alflow.models.ani.folded
        import alflow.models.ani.fused  # noqa: F401 - what matters is that they can be
    finally:
        config.CACHE_DIR = chosen


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
