"""A tabulated embedded-atom potential as an ensemble of one, for dynamics and for ASE."""

from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.labelers.embedded_atom import EmbeddedAtom
from alflow.models.compiled import is_switched_off, usable
from alflow.models.potential import Batch, Evaluation, Forces, Pairs

MODULES = ("alflow.labelers.eam_kernels",)
SOURCES = ("../labelers/eam_kernels.py", "../md/motion_kernels.py")


class EamPotential:
    """Implements `Potential` with one member; compiled where Numba works.

    Attributes:
        n_members: Always one.
        cutoff_A: Distance from which on atoms do not see each other [Å].
        elements: Atomic numbers it knows, ascending.
        dtype: Always float64.
        device: Always the CPU.
    """

    n_members = 1

    def __init__(self, tables: EmbeddedAtom) -> None:
        """Keep the tables."""
        self._tables = tables
        self.cutoff_A = tables.cutoff_A
        self.dtype = torch.float64
        self.device = torch.device("cpu")
        numbers = [SYMBOLS.index(symbol) for symbol in tables.symbols]
        self.elements = tuple(sorted(numbers))
        self._kind = np.full(len(SYMBOLS), -1)
        self._kind[numbers] = np.arange(len(numbers))

    def evaluate(
        self, batch: Batch, pairs: Pairs, *, forces: Forces = "mean"
    ) -> Evaluation:
        """Energies of all systems, and forces unless they are "none".

        Raises:
            SettingsError: If there is an element without tables.
        """
        numbers = batch.numbers.numpy()
        if (self._kind[numbers] < 0).any():
            strange = sorted(
                {SYMBOLS[z] for z in numbers[self._kind[numbers] < 0].tolist()}
            )
            raise SettingsError(f"no tables for {', '.join(strange)}")
        evaluate = self._slowly if _kernels() is None else self._compiled
        energies, found = evaluate(batch, pairs)
        by_one = torch.from_numpy(energies)[None]
        if forces == "none":
            return Evaluation(by_one)
        answer = torch.from_numpy(found)
        return Evaluation(by_one, answer, answer[None] if forces == "members" else None)

    def _compiled(self, batch: Batch, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """Energies and forces of all systems at once."""
        kernels, tables = _kernels(), self._tables
        if kernels is None:
            return self._slowly(batch, pairs)
        energies, forces = kernels.energies_and_forces(
            batch.positions.numpy(),
            batch.cells.numpy(),
            batch.system_idx.numpy(),
            self._kind[batch.numbers.numpy()],
            pairs.i.numpy(),
            pairs.j.numpy(),
            pairs.shifts.numpy(),
            *tables.coefficients,
            len(tables.symbols),
            *tables.grids,
            self.cutoff_A,
        )
        return energies, forces

    def _slowly(self, batch: Batch, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """The same by numpy."""
        kinds = self._kind[batch.numbers.numpy()]
        vectors = pairs.vectors(batch).numpy()
        found = self._tables.evaluate(kinds, pairs.i.numpy(), pairs.j.numpy(), vectors)
        owners = batch.system_idx.numpy()
        energies = np.bincount(owners, found.atomic_energies, batch.n_systems)
        return energies.astype(np.float64), found.forces

    def fingerprint(self, batch: Batch, pairs: Pairs) -> Float[Tensor, "systems features"]:
        """Mean number of neighbours of an atom: enough for what is no model."""
        near = pairs.vectors(batch).norm(dim=1) < self.cutoff_A
        counts = torch.zeros(batch.n_systems, dtype=torch.float64)
        owners = batch.system_idx[pairs.i[near]]
        counts.index_add_(0, owners, torch.ones_like(owners, dtype=torch.float64))
        return (counts / batch.atoms_per_system)[:, None]


def _kernels() -> ModuleType | None:
    """The compiled functions; None where numpy does their work."""
    if is_switched_off() or not usable("of tabulated potentials", MODULES, SOURCES):
        return None
    from alflow.labelers import eam_kernels

    return eam_kernels
