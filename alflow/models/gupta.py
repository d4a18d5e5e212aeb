"""The Gupta potential: fcc metals in the second-moment approximation of tight binding.

    E = Σ_i [ Σ_j A exp(-p (r_ij/r0 - 1)) - sqrt( Σ_j ξ² exp(-2q (r_ij/r0 - 1)) ) ]

(Cleri and Rosato, Phys. Rev. B 48, 22, 1993). Exact, deterministic and free of files: a
reference for tests and small campaigns. The original sums run over the first five shells of
neighbours; here both terms carry a switch that falls from one to zero between the fifth and the
sixth shell, so that lattice constant, cohesive energy and elastic constants are the published
ones; the switch is twice differentiable. The order of crystal phases hangs on where the sums
end: do not use it for claims about phases.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from alflow.core.elements import SYMBOLS, atomic_number
from alflow.core.errors import SettingsError
from alflow.models.gupta_parameters import CLERI_ROSATO, GuptaParameters
from alflow.models.potential import Batch, Evaluation, Forces, Pairs

SWITCH_START = 2.26
"""Distance, in units of r0, at which the switch starts; the fifth shell is at √5 = 2.236."""

SWITCH_END = 2.44
"""Distance, in units of r0, at which it has reached zero; the sixth shell is at √6 = 2.449."""

N_FINGERPRINT_BINS = 16


class GuptaPotential:
    """Implements `Potential` with one member.

    Unlike elements interact with geometric means of A and ξ and arithmetic means of p, q and
    r0: a mixing rule that makes any alloy computable, not a fitted one.

    Attributes:
        n_members: Always one.
        cutoff_A: Largest distance at which atoms see each other [Å].
        elements: Atomic numbers it knows, ascending.
        dtype: Floating-point type of its arithmetic.
        device: Where it computes.
    """

    n_members = 1

    def __init__(
        self,
        parameters: Mapping[str, GuptaParameters],
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        """Tabulate the parameters of all pairs of elements.

        Raises:
            SettingsError: If no element is given, or a symbol is unknown.
        """
        if not parameters:
            raise SettingsError(
                "a Gupta potential needs parameters of at least one element"
            )
        by_number = {atomic_number(symbol): values for symbol, values in parameters.items()}
        self.elements = tuple(sorted(by_number))
        self.dtype = dtype
        self.device = torch.device(device)
        self._table = _pair_table([by_number[number] for number in self.elements])
        self._table = self._table.to(self.device, dtype)
        self._row = torch.full((len(SYMBOLS),), -1, device=self.device)
        self._row[list(self.elements)] = torch.arange(
            len(self.elements), device=self.device
        )
        self.cutoff_A = float(self._table[..., 4].max()) * SWITCH_END

    @classmethod
    def published(cls, *symbols: str) -> "GuptaPotential":
        """The potential with the parameters of Cleri and Rosato for these elements.

        Raises:
            SettingsError: If there are none for an element.
        """
        return cls(published_parameters(symbols))

    def evaluate(
        self, batch: Batch, pairs: Pairs, *, forces: Forces = "mean"
    ) -> Evaluation:
        """Energies of all systems, and forces unless they are "none".

        A system with a coordinate that is not finite has energies and forces that are NaN.

        Raises:
            SettingsError: If an atom is of an element without parameters.
        """
        bonds = self._bonds(batch, pairs)
        per_atom = bonds.repulsion - bonds.density.sqrt()
        energies = torch.zeros(batch.n_systems, dtype=self.dtype, device=self.device)
        energies.index_add_(0, batch.system_idx, per_atom)
        broken = ~batch.is_finite
        energies = energies.to(torch.float64)[None].masked_fill(broken, torch.nan)
        if forces == "none":
            return Evaluation(energies)
        pull = bonds.slopes()[:, None] * bonds.vectors / bonds.distances[:, None]
        total = torch.zeros_like(batch.positions)
        total.index_add_(0, bonds.i, pull)
        total.index_add_(0, bonds.j, -pull)
        total.masked_fill_(broken[batch.system_idx, None], torch.nan)
        return Evaluation(energies, total, total[None] if forces == "members" else None)

    def stresses(self, batch: Batch, pairs: Pairs) -> Float[Tensor, "systems 3 3"]:
        """Stress [eV/Å³], tensile positive, (systems, 3, 3); only where all is periodic.

        Zero for systems that are not periodic in three directions.
        """
        bonds = self._bonds(batch, pairs)
        strength = bonds.slopes() / bonds.distances
        outer = bonds.vectors[:, :, None] * bonds.vectors[:, None, :]
        virial = torch.zeros_like(batch.cells)
        owner = batch.system_idx[bonds.i]
        virial.index_add_(0, owner, strength[:, None, None] * outer)
        is_bulk = batch.pbc.all(dim=1)
        volume = torch.where(is_bulk, torch.linalg.det(batch.cells).abs(), torch.inf)
        return virial / volume[:, None, None]

    def fingerprint(self, batch: Batch, pairs: Pairs) -> Float[Tensor, "systems features"]:
        """Mean number of neighbours of an atom in soft radial bins, by pair of elements."""
        bonds = self._bonds(batch, pairs)
        n_kinds = len(self.elements)
        centres = torch.linspace(0.6, SWITCH_END, N_FINGERPRINT_BINS, dtype=self.dtype)
        width = (centres[1] - centres[0]).to(self.device)
        reach = bonds.distances / bonds.r0
        bins = torch.exp(-(((reach[:, None] - centres.to(self.device)) / width) ** 2))
        rows = self._row[batch.numbers]
        kind = rows[bonds.i] * n_kinds + rows[bonds.j]
        owner = batch.system_idx[bonds.i] * n_kinds**2 + kind
        size = batch.n_systems * n_kinds**2
        counts = torch.zeros(size, N_FINGERPRINT_BINS, dtype=self.dtype, device=self.device)
        counts.index_add_(0, owner, bins)
        return counts.view(batch.n_systems, -1) / batch.atoms_per_system[:, None]

    def _bonds(self, batch: Batch, pairs: Pairs) -> "_Bonds":
        rows = self._row[batch.numbers]
        if bool((rows < 0).any()):
            strange = sorted({SYMBOLS[int(z)] for z in batch.numbers[rows < 0]})
            raise SettingsError(
                f"the Gupta potential has no parameters for {', '.join(strange)}; "
                f"it knows {', '.join(SYMBOLS[z] for z in self.elements)}"
            )
        vectors = pairs.vectors(batch)
        distances = vectors.norm(dim=1)
        near = (distances < self.cutoff_A).nonzero().flatten()
        i, j = pairs.i[near], pairs.j[near]
        values = self._table[rows[i], rows[j]]
        return _Bonds.of(i, j, vectors[near], values, batch.n_atoms)


def published_parameters(
    symbols: "tuple[str, ...] | list[str]",
) -> dict[str, GuptaParameters]:
    """Parameters of Cleri and Rosato for these elements.

    Raises:
        SettingsError: If there are none for an element.
    """
    missing = [symbol for symbol in symbols if symbol not in CLERI_ROSATO]
    if missing:
        raise SettingsError(
            f"there are no published Gupta parameters here for {', '.join(missing)}",
            next_step=f"known: {', '.join(CLERI_ROSATO)}; give others under 'parameters'",
        )
    return {symbol: CLERI_ROSATO[symbol] for symbol in symbols}


@dataclass(frozen=True, eq=False, slots=True)
class _Bonds:
    """The two terms of every pair, with their derivatives, and their sums over neighbours."""

    i: Int[Tensor, " pairs"]
    j: Int[Tensor, " pairs"]
    vectors: Float[Tensor, "pairs 3"]
    distances: Float[Tensor, " pairs"]
    r0: Float[Tensor, " pairs"]
    repulsion: Float[Tensor, " atoms"]
    density: Float[Tensor, " atoms"]
    repulsion_slope: Float[Tensor, " pairs"]
    density_slope: Float[Tensor, " pairs"]

    @classmethod
    def of(
        cls,
        i: Int[Tensor, " pairs"],
        j: Int[Tensor, " pairs"],
        vectors: Float[Tensor, "pairs 3"],
        values: Float[Tensor, "pairs 5"],
        n_atoms: int,
    ) -> "_Bonds":
        """Evaluate the terms; `values` are A, ξ², p, q, r0 of each pair."""
        distances = vectors.norm(dim=1)
        a, xi2, p, q, r0 = values.unbind(1)
        switch, switch_slope = _switch(distances / r0)
        repulsion = a * torch.exp(-p * (distances / r0 - 1))
        density = xi2 * torch.exp(-2 * q * (distances / r0 - 1))
        zero = torch.zeros(n_atoms, dtype=vectors.dtype, device=vectors.device)
        return cls(
            i,
            j,
            vectors,
            distances,
            r0,
            zero.index_add(0, i, repulsion * switch),
            zero.index_add(0, i, density * switch),
            repulsion * (switch_slope - p * switch) / r0,
            density * (switch_slope - 2 * q * switch) / r0,
        )

    def slopes(self) -> Float[Tensor, " pairs"]:
        """Derivative of the energy of the centre by the length of each pair [eV/Å]."""
        root = self.density.sqrt()[self.i]
        # An atom at the very end of the switch has no density left, and no force either.
        is_bound: Bool[Tensor, " pairs"] = root > 0
        return self.repulsion_slope - torch.where(
            is_bound, self.density_slope / (2 * torch.where(is_bound, root, 1.0)), 0.0
        )


def _pair_table(of_element: list[GuptaParameters]) -> Float[Tensor, "elements elements 5"]:
    """A, ξ², p, q and r0 for every pair of elements."""
    rows = torch.tensor(
        [[v.repulsion_eV, v.hopping_eV**2, v.p, v.q, v.r0_A] for v in of_element],
        dtype=torch.float64,
    )
    first, second = rows[:, None], rows[None, :]
    geometric, arithmetic = (first * second).sqrt(), (first + second) / 2
    table = torch.cat([geometric[..., :2], arithmetic[..., 2:]], dim=-1)
    # sqrt(x * x) may differ from x in the last bit; an element alone keeps its own values.
    diagonal = torch.arange(len(rows))
    table[diagonal, diagonal] = rows
    return table


def _switch(
    reach: Float[Tensor, " pairs"],
) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
    """One before `SWITCH_START`, zero beyond `SWITCH_END`, C² in between; and its slope."""
    width = SWITCH_END - SWITCH_START
    t = ((reach - SWITCH_START) / width).clamp(0, 1)
    value = 1 - t**3 * (10 - 15 * t + 6 * t**2)
    return value, -30 * t**2 * (1 - t) ** 2 / width
