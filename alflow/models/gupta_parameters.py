"""Parameters of the Gupta potential, for nine face-centred cubic metals.

Kept apart from the potential so that settings which mention them need no torch.
"""

from pydantic import Field

from alflow.registry import Settings


class GuptaParameters(Settings):
    """One element in the second-moment approximation of tight binding."""

    repulsion_eV: float = Field(gt=0)
    """Strength A of the pair repulsion at the distance r0 [eV]."""
    hopping_eV: float = Field(gt=0)
    """Hopping integral ξ at the distance r0 [eV]."""
    p: float = Field(gt=0)
    """Decay of the repulsion with distance, in units of 1/r0."""
    q: float = Field(gt=0)
    """Decay of the hopping integral with distance, in units of 1/r0."""
    r0_A: float = Field(gt=0)
    """Distance between nearest neighbours in the crystal [Å]."""


def _metal(
    repulsion_eV: float, hopping_eV: float, p: float, q: float, a0_A: float
) -> GuptaParameters:
    return GuptaParameters(
        repulsion_eV=repulsion_eV, hopping_eV=hopping_eV, p=p, q=q, r0_A=a0_A / 2**0.5
    )


CLERI_ROSATO: dict[str, GuptaParameters] = {
    "Ni": _metal(0.0376, 1.070, 16.999, 1.189, 3.523),
    "Cu": _metal(0.0855, 1.224, 10.960, 2.278, 3.615),
    "Rh": _metal(0.0629, 1.660, 18.450, 1.867, 3.803),
    "Pd": _metal(0.1746, 1.718, 10.867, 3.742, 3.887),
    "Ag": _metal(0.1028, 1.178, 10.928, 3.139, 4.085),
    "Ir": _metal(0.1156, 2.289, 16.980, 2.691, 3.839),
    "Pt": _metal(0.2975, 2.695, 10.612, 4.004, 3.924),
    "Au": _metal(0.2061, 1.790, 10.229, 4.036, 4.079),
    "Al": _metal(0.1221, 1.316, 8.612, 2.516, 4.050),
}
"""By symbol: F. Cleri and V. Rosato, Phys. Rev. B 48, 22 (1993), table II."""
