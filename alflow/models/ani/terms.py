"""Values and derivatives of the symmetry functions, in closed form."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alflow.models.ani.constants import AniConstants
from alflow.models.ani.spokes import Spokes, cutoff, cutoff_slope
from alflow.models.ani.triples import Slots

RADIAL_PREFACTOR = 0.25
"""NeuroChem's, not in the paper."""
COSINE_PREFACTOR = 0.95
"""NeuroChem's: keeps the angle away from 0 and 180 degrees, where it has no derivative."""
LOWEST_EXPONENT = -40.0
"""Exponents are kept above this: exp(-40) is nothing beside 1 even in float64, while underflow
and subnormal numbers make arithmetic ten times slower."""


@dataclass(frozen=True, eq=False, slots=True)
class Basis:
    """Constants of the descriptor as tensors.

    Attributes:
        constants: The same as numbers.
        radial_shifts: Centres of the radial Gaussians [Å], (radial,).
        shells: Centres of the mean distance [Å], (shells, 1).
        half_cos: Half the cosine of the centres of the angular functions, (sections, 1).
        half_sin: Half their sine, (sections, 1).
    """

    constants: AniConstants
    radial_shifts: Float[Tensor, " radial"]
    shells: Float[Tensor, "shells 1"]
    half_cos: Float[Tensor, "sections 1"]
    half_sin: Float[Tensor, "sections 1"]

    @classmethod
    def of(
        cls, constants: AniConstants, dtype: torch.dtype, device: torch.device | str
    ) -> "Basis":
        """Tensors of the constants, rounded once, at the end."""
        sections = torch.tensor(constants.angular_sections, dtype=torch.float64)[:, None]
        shells = torch.tensor(constants.angular_shifts, dtype=torch.float64)[:, None]
        shifts = torch.tensor(constants.radial_shifts, dtype=torch.float64)
        return cls(
            constants,
            *(
                values.to(device, dtype)
                for values in (shifts, shells, 0.5 * sections.cos(), 0.5 * sections.sin())
            ),
        )

    def radial(self, spokes: Spokes) -> Float[Tensor, "spokes radial"]:
        """Radial functions of each spoke."""
        c = self.constants
        return radial(spokes.distances, self.radial_shifts, c.radial_eta, c.radial_cutoff_A)

    def radial_slope(self, spokes: Spokes) -> Float[Tensor, "spokes radial"]:
        """Derivative of the radial functions in the distance [1/Å]."""
        c = self.constants
        return radial_slope(
            spokes.distances, self.radial_shifts, c.radial_eta, c.radial_cutoff_A
        )

    def shell(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Gaussians of mean distances, (rows, shells, width), and these times the offset [Å]."""
        return shells(mean, self.shells, self.constants.angular_eta)

    def section(self, cosine: Tensor) -> tuple[Tensor, Tensor]:
        """Functions of angles, (rows, sections, width), and their slopes in the cosine."""
        return sections(cosine, self.half_cos, self.half_sin, self.constants.zeta)


@dataclass(frozen=True, eq=False, slots=True)
class AngularSpokes:
    """Spokes within the angular cutoff, with what triples need of each.

    Attributes:
        index: Which of all spokes they are, (inner,).
        group: Centre times number of elements plus element of the neighbour, ascending, (inner,).
        table: Unit vector, distance [Å], cutoff function and its slope, (6, inner).
    """

    index: Int[Tensor, " inner"]
    group: Int[Tensor, " inner"]
    table: Float[Tensor, "6 inner"]

    @classmethod
    def of(cls, spokes: Spokes, cutoff_A: float, n_elements: int) -> "AngularSpokes":
        """The inner ones of some spokes."""
        index = spokes.inner(cutoff_A, n_elements)
        distances = spokes.distances[index]
        fade = cutoff(distances, cutoff_A), cutoff_slope(distances, cutoff_A)
        units = spokes.vectors[index].T / distances
        table = torch.cat([units, torch.stack((distances, *fade))])
        return cls(index, spokes.group[index], table)

    @property
    def units(self) -> Float[Tensor, "3 inner"]:
        """Unit vectors."""
        return self.table[:3]

    @property
    def distances(self) -> Float[Tensor, " inner"]:
        """Distances [Å]."""
        return self.table[3]

    def counts(self, n_atoms: int, n_elements: int) -> Int[Tensor, "atoms elements"]:
        """Number of spokes of each atom to each element."""
        flat = torch.bincount(self.group, minlength=n_atoms * n_elements)
        return flat.view(n_atoms, n_elements)


@dataclass(frozen=True, eq=False, slots=True)
class TripleTerms:
    """What a triple contributes: shell functions times section functions times a weight.

    Attributes:
        slots: Which triples.
        units_p: Unit vectors to p, (3, rows, width).
        units_q: Unit vectors to q, (3, rows, width).
        weight: Twice the product of both cutoff functions, 0 in unused slots, (rows, width).
        weight_slope_p: Its derivative in the distance to p [1/Å], (rows, width).
        weight_slope_q: Its derivative in the distance to q [1/Å], (rows, width).
        shell: Gaussians of the mean distance, (rows, shells, width).
        shell_moment: Gaussians times the distance from their centres [Å]; -2 eta times this is
            the derivative in the mean distance, (rows, shells, width).
        section: Functions of the angle, (rows, sections, width).
        section_slope: Their derivatives in the cosine of the angle, (rows, sections, width).
    """

    slots: Slots
    units_p: Float[Tensor, "3 rows width"]
    units_q: Float[Tensor, "3 rows width"]
    weight: Float[Tensor, "rows width"]
    weight_slope_p: Float[Tensor, "rows width"]
    weight_slope_q: Float[Tensor, "rows width"]
    shell: Float[Tensor, "rows shells width"]
    shell_moment: Float[Tensor, "rows shells width"]
    section: Float[Tensor, "rows sections width"]
    section_slope: Float[Tensor, "rows sections width"]

    @classmethod
    def of(cls, basis: Basis, angular: AngularSpokes, slots: Slots) -> "TripleTerms":
        """Evaluate the functions of some triples."""
        rows, width = slots.p.shape
        p = angular.table.index_select(1, slots.p.flatten()).view(6, rows, width)
        q = angular.table.index_select(1, slots.q.flatten()).view(6, rows, width)
        # The 2 in front of the angular functions is cheapest here.
        used = 2 * slots.used.to(p.dtype)
        fade_p, fade_q = p[4] * used, q[4]
        shell, shell_moment = basis.shell(0.5 * (p[3] + q[3]))
        section, section_slope = basis.section(p[0] * q[0] + p[1] * q[1] + p[2] * q[2])
        return cls(
            slots,
            p[:3],
            q[:3],
            fade_p * fade_q,
            p[5] * used * fade_q,
            fade_p * q[5],
            shell,
            shell_moment,
            section,
            section_slope,
        )

    def features(self) -> Float[Tensor, "rows shells sections"]:
        """Sum over the slots of each row."""
        return torch.bmm(self.shell * self.weight[:, None], self.section.transpose(1, 2))


def _gaussian(offset: Tensor, eta: float) -> Tensor:
    return (offset * offset).mul_(-eta).clamp_(min=LOWEST_EXPONENT).exp_()


def radial(
    distances: Tensor, shifts: Tensor, eta: float, reach_A: float
) -> Float[Tensor, "spokes radial"]:
    """Radial functions of distances."""
    offset = distances[:, None] - shifts
    weight = RADIAL_PREFACTOR * cutoff(distances, reach_A)
    return _gaussian(offset, eta) * weight[:, None]


def radial_slope(
    distances: Tensor, shifts: Tensor, eta: float, reach_A: float
) -> Float[Tensor, "spokes radial"]:
    """Their derivatives [1/Å]."""
    offset = distances[:, None] - shifts
    weight = RADIAL_PREFACTOR * cutoff(distances, reach_A)
    slope = RADIAL_PREFACTOR * cutoff_slope(distances, reach_A)
    value = _gaussian(offset, eta)
    slopes = torch.addcmul(slope[:, None], offset, weight[:, None], value=-2 * eta)
    return slopes.mul_(value)


def shells(mean: Tensor, centres: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """Gaussians of mean distances, and these times the distance from their centres."""
    offset = mean[:, None] - centres
    value = _gaussian(offset, eta)
    return value, offset.mul_(value)


def sections(
    cosine: Tensor, half_cos: Tensor, half_sin: Tensor, zeta: float
) -> tuple[Tensor, Tensor]:
    """((1 + cos(angle - centre)) / 2)^zeta without the angle, and its slope in `cosine`.

    The base stays above 0.02 because the angle stays within 18..162 degrees.
    """
    cos = COSINE_PREFACTOR * cosine[:, None]
    sin = torch.sqrt(1 - cos * cos)
    base = (cos * half_cos).addcmul_(sin, half_sin).add_(0.5)
    value = torch.log(base).mul_(zeta - 1).clamp_(min=LOWEST_EXPONENT).exp_()
    rate = zeta * COSINE_PREFACTOR
    slope = torch.addcmul(rate * half_cos, cos / sin, half_sin, value=-rate)
    return base.mul_(value), slope.mul_(value)
