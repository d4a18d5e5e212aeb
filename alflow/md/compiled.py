"""Whether steps are made by compiled functions: on a CPU, where Numba works."""

from types import ModuleType

import torch

from alflow.models.compiled import is_switched_off, usable

MODULES = ("alflow.md.motion_kernels",)
SOURCES = ("../md/motion_kernels.py",)


def motion_kernels(device: torch.device) -> ModuleType | None:
    """The compiled functions; None where torch does their work."""
    if device.type != "cpu" or is_switched_off():
        return None
    if not usable("of molecular dynamics", MODULES, SOURCES):
        return None
    from alflow.md import motion_kernels as found

    return found
