"""What a process runs in: all that its numbers may depend on besides the inputs of its task."""

import os
import platform
import sys
from typing import Any

import alflow
from alflow.execution.devices import visible_devices

_RECORDED_PACKAGES = ("numpy", "torch", "ase", "pyscf")

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Variables by which libraries learn how many threads to use."""

_DEVICES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
_REPEATED = (
    *("OMP_", "MKL_", "OPENBLAS_", "CUBLAS_", "TORCH_", "PYTORCH_", "PYSCF_", "PYTHON"),
    *("KMP_", "GOMP_", "NCCL_"),
)
_PLACES = ("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "VIRTUAL_ENV", "CONDA_PREFIX", "LANG")
_SECRET = ("KEY", "PASSWORD", "SECRET", "TOKEN")


def environment() -> dict[str, Any]:
    """What the numbers of this process depend on besides their inputs (JSON-like).

    `command` is the one that started this process. `variables` are those of its environment that
    change what libraries do, or which ones are found; nothing else is kept, for an environment may
    hold secrets. What differs from task to task is left out, so that tasks share one description.
    """
    modules = {name: sys.modules.get(name) for name in _RECORDED_PACKAGES}
    return {
        "alflow": alflow.__version__,
        "python": platform.python_version(),
        "host": platform.node(),
        "devices": visible_devices(os.environ),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "packages": {
            name: str(getattr(module, "__version__", "unknown"))
            for name, module in modules.items()
            if module is not None
        },
        "command": list(sys.orig_argv),
        "executable": sys.executable,
        "variables": {
            name: value
            for name, value in sorted(os.environ.items())
            if _is_telling(name) and not any(word in name for word in _SECRET)
        },
    }


def repeatable(variables: dict[str, str]) -> dict[str, str]:
    """Those of recorded variables that make another process, maybe elsewhere, do the same."""
    return {
        name: value
        for name, value in variables.items()
        if name in THREADS or name.startswith(_REPEATED)
    }


def _is_telling(name: str) -> bool:
    return name in (*THREADS, *_DEVICES, *_PLACES) or name.startswith(_REPEATED)
