"""Energies, forces and stresses of tabulated embedded-atom potentials.

    E = Σ_i [ F_i( Σ_j ρ_ji(r_ij) ) + ½ Σ_j φ_ij(r_ij) ]

The functions run through the tables as in LAMMPS (pair styles eam/alloy and eam/fs): F, ρ and
r·φ are piecewise cubic, with slopes at the points from differences of fourth order (of second and
first order at the ends), so that a number depends on the nearest six points alone. ASE lays one
spline with continuous second derivatives through all points, and through φ instead of r·φ; the two
differ as much as the tables are coarse. Beyond the last density F goes on as a straight line, as
in LAMMPS. Pairs at the cutoff or beyond it contribute nothing.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from alflow.labelers.setfl import EamTables


@dataclass(frozen=True, eq=False, slots=True)
class EamResult:
    """What the potential says about one structure.

    Attributes:
        energy: Potential energy [eV].
        atomic_energies: What each atom adds to it [eV], (atoms,).
        forces: Forces [eV/Å], (atoms, 3).
        virial: Sum over pairs of distance times force, tensile positive [eV], (3, 3); by the
            volume it is the stress.
        densities: Density at each atom, in the units of the tables, (atoms,).
    """

    energy: float
    atomic_energies: Float[np.ndarray, " atoms"]
    forces: Float[np.ndarray, "atoms 3"]
    virial: Float[np.ndarray, "3 3"]
    densities: Float[np.ndarray, " atoms"]


class EmbeddedAtom:
    """Evaluates one structure at a time.

    Attributes:
        symbols: Chemical symbols of its elements; elements of atoms are indices into them.
        cutoff_A: Distance from which on atoms do not see each other [Å].
        first_A: First distance that is tabulated [Å]: nothing is known below it.
        last_density: Last density that is tabulated.
    """

    def __init__(self, tables: EamTables) -> None:
        """Turn the tables into polynomials."""
        self.symbols = tables.symbols
        self.cutoff_A = tables.cutoff_A
        self.first_A = tables.dr_A
        self.last_density = tables.drho * (tables.embedding.shape[1] - 1)
        self._embedding = _Polynomials(tables.embedding, tables.drho)
        distances = tables.pair.shape[2]
        self._density = _Polynomials(tables.density.reshape(-1, distances), tables.dr_A)
        self._pair = _Polynomials(tables.pair.reshape(-1, distances), tables.dr_A)

    @property
    def coefficients(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pieces of the embedding, density and pair functions, (tables times intervals, 4)."""
        return (
            self._embedding.coefficients,
            self._density.coefficients,
            self._pair.coefficients,
        )

    @property
    def grids(self) -> tuple[int, float, int, float]:
        """Numbers of intervals and their lengths, of densities and then of distances [Å]."""
        by_density, by_distance = self._embedding, self._density
        return (
            by_density.intervals,
            by_density.spacing,
            by_distance.intervals,
            by_distance.spacing,
        )

    def evaluate(
        self,
        elements: Int[np.ndarray, " atoms"],
        i: Int[np.ndarray, " pairs"],
        j: Int[np.ndarray, " pairs"],
        vectors: Float[np.ndarray, "pairs 3"],
    ) -> EamResult:
        """Energy, forces and virial of one structure.

        Args:
            elements: Index of each atom's element in `symbols`, (atoms,).
            i: Index of the centre of every ordered pair, (pairs,).
            j: Index of its neighbour, (pairs,).
            vectors: From centre to neighbour [Å], (pairs, 3); longer ones than the cutoff do not
                count.
        """
        n_atoms, n_kinds = len(elements), len(self.symbols)
        distances = np.sqrt(np.einsum("px,px->p", vectors, vectors))
        near = np.flatnonzero(distances < self.cutoff_A)
        i, j, vectors, distances = i[near], j[near], vectors[near], distances[near]
        to_i, to_j = (
            elements[j] * n_kinds + elements[i],
            elements[i] * n_kinds + elements[j],
        )
        density, slope_at_i = self._density.at(to_i, distances)
        slope_at_j = slope_at_i if n_kinds == 1 else self._density.at(to_j, distances)[1]
        product, product_slope = self._pair.at(to_i, distances)
        phi = product / distances
        densities = _sums(i, density, n_atoms)
        embedding, embedding_slope = self._embedded(elements, densities)
        slopes = (
            embedding_slope[i] * slope_at_i
            + embedding_slope[j] * slope_at_j
            + (product_slope - phi) / distances
        )
        # Every bond is there twice, seen from either end.
        pulls = (slopes / distances)[:, None] * vectors
        forces = np.stack([_sums(i, pulls[:, x], n_atoms) for x in range(3)], axis=1)
        virial = vectors.T @ pulls / 2
        energy = float(embedding.sum() + phi.sum() / 2)
        atomic = embedding + _sums(i, phi, n_atoms) / 2
        return EamResult(energy, atomic, forces, (virial + virial.T) / 2, densities)

    def _embedded(
        self, elements: Int[np.ndarray, " atoms"], densities: Float[np.ndarray, " atoms"]
    ) -> tuple[Float[np.ndarray, " atoms"], Float[np.ndarray, " atoms"]]:
        """Embedding energies and their slopes; a straight line beyond the last density."""
        excess = np.maximum(densities - self.last_density, 0.0)
        energies, slopes = self._embedding.at(elements, densities - excess)
        return energies + slopes * excess, slopes


class _Polynomials:
    """Piecewise cubic functions through values at 0, h, 2h, ..., several tables at once."""

    def __init__(self, values: Float[np.ndarray, "tables points"], spacing: float) -> None:
        slopes = _slopes(values)
        left, right, rise = slopes[:, :-1], slopes[:, 1:], np.diff(values, axis=1)
        coefficients = np.stack(
            [left + right - 2 * rise, 3 * rise - 2 * left - right, left, values[:, :-1]],
            axis=-1,
        )
        self.spacing = spacing
        self.intervals = values.shape[1] - 1
        self.coefficients = coefficients.reshape(-1, 4)

    def at(
        self, tables: Int[np.ndarray, " places"], places: Float[np.ndarray, " places"]
    ) -> tuple[Float[np.ndarray, " places"], Float[np.ndarray, " places"]]:
        """Values and slopes of the given tables at given places; constant behind the last point."""
        steps = places / self.spacing
        interval = np.clip(steps.astype(np.int64), 0, self.intervals - 1)
        t = np.minimum(steps - interval, 1.0)
        a, b, c, d = self.coefficients[tables * self.intervals + interval].T
        value = ((a * t + b) * t + c) * t + d
        return value, ((3 * a * t + 2 * b) * t + c) / self.spacing


def _slopes(
    values: Float[np.ndarray, "tables points"],
) -> Float[np.ndarray, "tables points"]:
    """Slopes by the number of the point, as LAMMPS takes them."""
    slopes = np.empty_like(values)
    slopes[:, 0] = values[:, 1] - values[:, 0]
    slopes[:, -1] = values[:, -1] - values[:, -2]
    slopes[:, 1] = (values[:, 2] - values[:, 0]) / 2
    slopes[:, -2] = (values[:, -1] - values[:, -3]) / 2
    outer = values[:, :-4] - values[:, 4:]
    slopes[:, 2:-2] = (outer + 8 * (values[:, 3:-1] - values[:, 1:-3])) / 12
    return slopes


def _sums(
    owners: Int[np.ndarray, " pairs"], values: Float[np.ndarray, " pairs"], n_atoms: int
) -> Float[np.ndarray, " atoms"]:
    """Sums of values by their owner; a bincount of nothing would be of whole numbers."""
    return np.bincount(owners, values, n_atoms).astype(np.float64)
