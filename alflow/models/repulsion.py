"""The repulsion of nuclei below the networks: what no data set teaches, atoms do not fuse.

The universal screened potential of Ziegler, Biersack and Littmark (The Stopping and Range of Ions
in Solids, 1985), switched off smoothly at the sum of the covalent radii, so that it acts where
atoms are closer than bonds are long. Networks learn the rest.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from alflow.core.elements import COVALENT_RADII_A
from alflow.core.units import ANGSTROM_PER_BOHR, COULOMB_EV_A
from alflow.models.compiled import is_switched_off, usable
from alflow.models.potential import Batch, Pairs

SHARES = (0.18175, 0.50986, 0.28022, 0.02817)
DECAYS = (3.19980, 0.94229, 0.40290, 0.20162)
"""The screening function is the sum of `share * exp(-decay * r / length)`."""
SCREENING_A, SCREENING_POWER = 0.8854 * ANGSTROM_PER_BOHR, 0.23
"""The screening length is 0.8854 Bohr / (Z_i^0.23 + Z_j^0.23)."""
POWER = 6
"""Power of the envelope 1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2 x^(p+2), which and two
derivatives of which vanish at the cutoff (Gasteiger, Groß and Günnemann, ICLR 2020)."""
MODULES, SOURCES = (
    ("alflow.models.repulsion_kernel",),
    ("repulsion.py", "repulsion_kernel.py"),
)


@dataclass(frozen=True, eq=False, slots=True)
class Repelled:
    """What nuclei do to each other.

    Attributes:
        energies: Of each system [eV], float64, (systems,).
        forces: On each atom [eV/Å], float64, (atoms, 3).
        virial: Derivative of the energy of each system in a strain [eV], float64,
            (systems, 3, 3); by the volume it is the stress.
    """

    energies: Float[Tensor, " systems"]
    forces: Float[Tensor, "atoms 3"]
    virial: Float[Tensor, "systems 3 3"]


class ZblRepulsion:
    """The repulsion of all pairs of nuclei."""

    name = "zbl"

    def evaluate(self, batch: Batch, pairs: Pairs) -> Repelled:
        """Energies, forces and virials, in double precision.

        Args:
            batch: Systems.
            pairs: Every ordered pair within a cutoff that is at least the sum of two covalent
                radii.
        """
        is_compiled = batch.positions.device.type == "cpu" and not is_switched_off()
        if is_compiled and usable("of the repulsion", MODULES, SOURCES):
            return _by_kernel(batch, pairs)
        return _by_torch(batch, pairs)


def _by_kernel(batch: Batch, pairs: Pairs) -> Repelled:
    from alflow.models.repulsion_kernel import repelled

    energies, forces, virial = repelled(
        batch.positions.detach().numpy(),
        batch.numbers.numpy(),
        batch.system_idx.numpy(),
        batch.cells.detach().numpy(),
        pairs.i.numpy(),
        pairs.j.numpy(),
        pairs.shifts.numpy(),
        COVALENT_RADII_A,
    )
    found = (torch.from_numpy(array) for array in (energies, forces, virial))
    return Repelled(*found)


def _by_torch(batch: Batch, pairs: Pairs) -> Repelled:
    """The same with torch, on any device."""
    device = batch.positions.device
    vectors = pairs.vectors(batch).detach().to(torch.float64)
    radii = torch.from_numpy(COVALENT_RADII_A).to(device)
    z_i, z_j = batch.numbers[pairs.i], batch.numbers[pairs.j]
    squares, cutoff = vectors.square().sum(1), radii[z_i] + radii[z_j]
    near = (squares < cutoff.square()).nonzero()[:, 0]
    vectors, cutoff, centres = vectors[near], cutoff[near], pairs.i[near]
    z_i, z_j = z_i[near].double(), z_j[near].double()
    r = squares[near].sqrt()
    length = SCREENING_A / (z_i**SCREENING_POWER + z_j**SCREENING_POWER)
    screening, slope = torch.zeros_like(r), torch.zeros_like(r)
    for share, decay in zip(SHARES, DECAYS, strict=True):
        part = share * torch.exp(-decay * r / length)
        screening, slope = screening + part, slope - decay / length * part
    x, p = r / cutoff, POWER
    envelope = (
        1
        - (p + 1) * (p + 2) / 2 * x**p
        + p * (p + 2) * x ** (p + 1)
        - p * (p + 1) / 2 * x ** (p + 2)
    )
    fall = -p * (p + 1) * (p + 2) / 2 * x ** (p - 1) * (1 - x) ** 2 / cutoff
    strength = COULOMB_EV_A * z_i * z_j / r
    energy = strength * screening * envelope
    change = strength * (slope * envelope + screening * fall - screening * envelope / r)
    pulls = (change / r)[:, None] * vectors
    system = batch.system_idx[centres]
    n_systems, n_atoms = batch.n_systems, batch.n_atoms
    return Repelled(
        vectors.new_zeros(n_systems).index_add_(0, system, energy / 2),
        vectors.new_zeros(n_atoms, 3).index_add_(0, centres, pulls),
        vectors.new_zeros(n_systems, 3, 3).index_add_(
            0, system, torch.einsum("px,py->pxy", vectors, pulls) / 2
        ),
    )


def repulsion(name: str | None) -> ZblRepulsion | None:
    """The repulsion of this name; None for none.

    Raises:
        ValueError: If there is none of this name.
    """
    if name not in (None, ZblRepulsion.name):
        raise ValueError(f"there is no repulsion {name!r}")
    return None if name is None else ZblRepulsion()
