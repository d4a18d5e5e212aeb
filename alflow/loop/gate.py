"""Whether a new generation may replace the one that serves: not if it is worse beyond noise.

Both have predicted the same test structures. For each of them the squared errors are subtracted;
the new generation is worse if the mean of the differences exceeds a multiple of its standard error.
A pair shares its structure, so that hard and easy structures do not count as noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alflow.config.campaign import GateSettings
from alflow.store.predictions import ErrorOnLabel


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two generations on the same test structures.

    Attributes:
        noun: What is compared: `force`, or `energy` where the level has no forces.
        before: Root mean square error of the one that serves, forces per component [eV/Å] or
            energies [eV/atom].
        after: That of the new one.
        n: Number of structures that both have finite numbers for.
        n_lost: Structures for which only the new one has numbers that are not finite.
        sigmas: Mean difference of squared errors, over its standard error; positive is worse.
    """

    noun: str
    before: float
    after: float
    n: int
    n_lost: int
    sigmas: float

    def is_worse(self, settings: GateSettings) -> bool:
        """Whether the new generation is refused."""
        if settings.sigma is None:
            return False
        if self.n_lost:
            return True
        return self.n >= settings.minimum_structures and self.sigmas > settings.sigma

    def to_statistics(self) -> dict[str, float]:
        """Statistics of the iteration, units in the names."""
        return {
            f"gate_before_{_UNITS[self.noun]}": self.before,
            f"gate_after_{_UNITS[self.noun]}": self.after,
            "gate_n_structures": float(self.n),
            "gate_n_not_finite": float(self.n_lost),
            "gate_sigmas": self.sigmas,
        }

    def sentence(self, new: int, old: int, *, is_refused: bool) -> str:
        """The verdict about generation `new`, with its numbers."""
        what = f"generation {new} takes the place of generation {old}"
        if is_refused:
            what = f"generation {new} is refused and generation {old} stays"
        if self.n_lost:
            predictions = f"{self.n_lost} of {self.n + self.n_lost} predictions"
            return f"{what}: {predictions} of test structures are not finite"
        errors = f"{1e3 * self.before:.1f} to {1e3 * self.after:.1f} {_SHOWN[self.noun]}"
        way = "worse" if self.sigmas > 0 else "better"
        return (
            f"{what}: the {self.noun} error on {self.n} test structures went from {errors}, "
            f"{abs(self.sigmas):.1f} standard errors {way}"
        )


_UNITS = {"force": "eV_per_A", "energy": "eV_per_atom"}
_SHOWN = {"force": "meV/Å", "energy": "meV/atom"}


def compare(
    old: Mapping[int, ErrorOnLabel], new: Mapping[int, ErrorOnLabel]
) -> Comparison | None:
    """Compare errors by label; None if no label was predicted by both.

    Forces decide if any label has them, else energies. The squared force error of a structure
    counts by its atoms, as in the root mean square error over all components.
    """
    pairs = [(old[label], new[label]) for label in sorted(old.keys() & new.keys())]
    with_forces = [pair for pair in pairs if pair[0].has_forces]
    noun, used = ("force", with_forces) if with_forces else ("energy", pairs)
    if not used:
        return None
    squares = np.array([[_square(one, noun) for one in pair] for pair in used])
    weights = np.array([pair[0].n_atoms if with_forces else 1.0 for pair in used])
    is_finite = np.isfinite(squares)
    is_lost = is_finite[:, 0] & ~is_finite[:, 1]
    both = is_finite.all(axis=1)
    return _compared(noun, squares[both], weights[both], int(is_lost.sum()))


def from_statistics(statistics: Mapping[str, float]) -> Comparison | None:
    """The comparison whose numbers an iteration has kept; None if it has none."""
    for noun, unit in _UNITS.items():
        if f"gate_before_{unit}" in statistics:
            return Comparison(
                noun,
                statistics[f"gate_before_{unit}"],
                statistics[f"gate_after_{unit}"],
                int(statistics["gate_n_structures"]),
                int(statistics["gate_n_not_finite"]),
                statistics["gate_sigmas"],
            )
    return None


def _square(error: ErrorOnLabel, noun: str) -> float:
    value = error.force_rmse if noun == "force" else error.energy_error
    return value * value


def _compared(
    noun: str, squares: np.ndarray, weights: np.ndarray, n_lost: int
) -> Comparison:
    n = len(squares)
    if n == 0:
        return Comparison(noun, 0.0, 0.0, 0, n_lost, 0.0)
    before, after = np.average(squares, axis=0, weights=weights)
    differences = (squares[:, 1] - squares[:, 0]) * weights / weights.mean()
    return Comparison(
        noun, float(before**0.5), float(after**0.5), n, n_lost, _sigmas(differences)
    )


def _sigmas(differences: Sequence[float] | np.ndarray) -> float:
    """Mean over its standard error; 0 where the differences do not vary."""
    values = np.asarray(differences)
    noise = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(values.mean() / noise) if noise > 0 else 0.0
