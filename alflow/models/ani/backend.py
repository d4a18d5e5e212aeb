"""What computes the descriptor of an ANI potential: compiled kernels where they can be had."""

from typing import TYPE_CHECKING

from alflow.models.compiled import is_switched_off, usable
from alflow.models.threads import kernel_threads

if TYPE_CHECKING:
    from alflow.models.ani.constants import AniConstants
    from alflow.models.ani.fused import FusedDescriptor

MODULES = ("alflow.models.ani.folded", "alflow.models.ani.fused")
SOURCES = ("ani/lanes.py", "ani/kernels.py", "ani/network_kernels.py")


def fused_descriptor(
    constants: "AniConstants", n_elements: int
) -> "FusedDescriptor | None":
    """The descriptor on compiled kernels, or None where torch has to do."""
    if is_switched_off() or not usable("of ANI potentials", MODULES, SOURCES):
        return None
    from alflow.models.ani.fused import FusedDescriptor

    return FusedDescriptor(constants, n_elements, kernel_threads())
