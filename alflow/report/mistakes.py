"""Where a generation is wrong: by element, by origin of the structures, and about which labels."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from alflow.core.elements import SYMBOLS
from alflow.store.mistakes import NEW, AtomErrors, LabelError, OriginError


@dataclass(frozen=True, slots=True)
class ElementError:
    """How wrong the forces on atoms of one element are.

    Attributes:
        which: Set of labels: test or new.
        element: Its symbol.
        n_atoms: Number of atoms.
        force_rmse: Root mean square of the error of a component [eV/Å].
        largest: Largest error of the force on an atom [eV/Å].
    """

    which: str
    element: str
    n_atoms: int
    force_rmse: float
    largest: float


@dataclass(frozen=True, slots=True)
class Mistakes:
    """Errors on labels that had not been trained on.

    Attributes:
        generation: Generation that was asked about the test set, None without one.
        iteration: Iteration whose new labels count, as the generation that chose them predicted
            them; None without any.
        by_element: Errors of the forces by element.
        by_origin: Errors by builder or sampler.
        worst: Labels with the largest errors.
    """

    generation: int | None = None
    iteration: int | None = None
    by_element: tuple[ElementError, ...] = ()
    by_origin: tuple[OriginError, ...] = ()
    worst: tuple[LabelError, ...] = ()

    @property
    def force_rmse_new(self) -> float | None:
        """Error of the forces on the new labels, whatever sampled them [eV/Å]; None without any."""
        rows = [
            (one.n_labels, one.force)
            for one in self.by_origin
            if one.which == NEW and one.force is not None
        ]
        total = sum(n for n, _ in rows)
        return math.sqrt(sum(n * square for n, square in rows) / total) if total else None


def by_element(found: Iterable[AtomErrors]) -> tuple[ElementError, ...]:
    """Errors of the forces by set and element; atoms without a finite one do not count."""
    squares: dict[tuple[str, int], list[np.ndarray]] = defaultdict(list)
    for one in found:
        lengths = (one.errors**2).sum(axis=1)
        for z in np.unique(one.numbers):
            squares[one.which, int(z)].append(lengths[one.numbers == z])
    rows = []
    for (which, z), parts in sorted(squares.items()):
        lengths = np.concatenate(parts)
        lengths = lengths[np.isfinite(lengths)]
        if len(lengths):
            rmse = math.sqrt(float(lengths.mean()) / 3)
            largest = math.sqrt(float(lengths.max()))
            rows.append(ElementError(which, SYMBOLS[z], len(lengths), rmse, largest))
    return tuple(rows)
