"""An ensemble as a calculator of ASE: whatever ASE can drive, it can drive with an ensemble."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from ase.calculators.calculator import (
    Calculator,
    PropertyNotImplementedError,
    all_changes,
)
from ase.outputs import Properties, all_outputs
from torch import Tensor

from alflow.core.elements import MASSES_AMU
from alflow.core.errors import SettingsError
from alflow.md.neighbours import FindPairs, VerletList
from alflow.md.spread import mean_forces, member_mean
from alflow.md.state import State
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch, Potential

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_STRAIN_STEPS = {torch.float64: 1e-4, torch.float32: 1e-3}
_RENEWING = {"numbers", "cell", "pbc"}
"""What may not change while a neighbour list is kept."""


class EnsembleCalculator(Calculator):  # type: ignore[misc, unused-ignore]
    """Energy, forces and stress of the mean of an ensemble, and its spread.

    After a calculation `results` has, in units of ASE (eV, Å):

    - `energy`, `free_energy`, `forces`: of the mean of the members;
    - `member_energies`: of each member, (members,);
    - `energy_spread`: standard deviation of the energy over members, divided by the square root
      of the number of atoms [eV], the measure that a campaign's limit is compared with;
    - `force_spread`: for each atom the norm over x, y, z of the standard deviation of the force
      over members [eV/Å], (atoms,);
    - `stress`: only if it was asked for, and only where all directions are periodic. A potential
      without a method `stresses` is strained and evaluated twelve times for it.

    All of them may be asked for by `get_property`. Standard deviations are those of the
    population, as everywhere in alflow. Coordinates that are not finite give energies and forces
    that are not.

    Attributes:
        n_evaluations: Evaluations made so far, twelve for a stress that takes as many.
    """

    implemented_properties: list[str] = [  # noqa: RUF012 - as ASE declares it
        "energy",
        "free_energy",
        "forces",
        "stress",
        "member_energies",
        "energy_spread",
        "force_spread",
    ]

    def __init__(
        self,
        potential: Potential,
        *,
        forces: Literal["mean", "members"] = "members",
        skin_A: float = 1.0,
        find_pairs: FindPairs = neighbour_pairs,
    ) -> None:
        """Keep the potential.

        Args:
            potential: The ensemble, for example from `alflow.models.loading.load_potential`.
            forces: With "mean" the forces of single members are computed only when
                `force_spread` is asked for, which is faster for dynamics and relaxations.
            skin_A: Skin of the neighbour list [Å]; changes the speed only.
            find_pairs: Finds pairs from scratch.
        """
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self._potential = potential
        self._forces = forces
        self._skin_A = skin_A
        self._find_pairs = find_pairs
        self._listed: VerletList | None = None
        self.n_evaluations = 0

    def calculate(
        self,
        atoms: Any = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill `results`; called by ASE when they are asked for and something has changed.

        Raises:
            SettingsError: If there are no atoms, or the potential does not know an element.
            PropertyNotImplementedError: If `stress` is asked for where not all is periodic.
        """
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call, unused-ignore]
        state = _state_of(self.atoms, self._potential.device)
        pairs = self._pairs(state, system_changes)
        needs_members = self._forces == "members" or "force_spread" in properties
        batch = state.batch(self._potential.dtype)
        found = self._potential.evaluate(
            batch, pairs.pairs, forces="members" if needs_members else "mean"
        )
        energy = float(member_mean(found.energies)[0])
        spread = float(found.energy_spread()[0]) / np.sqrt(batch.n_atoms)
        self.n_evaluations += 1
        results = {
            "energy": energy,
            "free_energy": energy,
            "forces": _numpy(mean_forces(found)),
            "member_energies": _numpy(found.energies[:, 0]),
            "energy_spread": float(spread),
        }
        if needs_members:
            results["force_spread"] = _numpy(found.force_spread())
        if "stress" in properties:
            results["stress"] = self._stress(state)
        self.results = results

    def export_properties(self) -> Properties:
        """The results that ASE has a name for."""
        return Properties({k: v for k, v in self.results.items() if k in all_outputs})

    def _pairs(self, state: State, changes: Sequence[str]) -> VerletList:
        if self._listed is None or _RENEWING & set(changes):
            self._listed = VerletList(
                state,
                self._potential.cutoff_A,
                skin_A=self._skin_A,
                dtype=self._potential.dtype,
                find_pairs=self._find_pairs,
            )
        else:
            self._listed.update(state)
        return self._listed

    def _stress(self, state: State) -> np.ndarray:
        """In the order of Voigt [eV/Å³], tensile positive."""
        if not bool(state.pbc.all()):
            raise PropertyNotImplementedError(
                "stress needs a cell that is periodic in all directions"
            )
        potential = self._potential
        if callable(own := getattr(potential, "stresses", None)):
            batch = state.batch(potential.dtype)
            found = _numpy(own(batch, self._find_pairs(batch, potential.cutoff_A))[0])
            return np.array([found[row] for row in _VOIGT])
        step = _STRAIN_STEPS.get(potential.dtype, max(_STRAIN_STEPS.values()))
        strained = _strained(state, step)
        pairs = self._find_pairs(strained, potential.cutoff_A)
        batch = Batch(
            strained.positions.to(potential.dtype),
            strained.numbers,
            strained.system_idx,
            strained.cells.to(potential.dtype),
            strained.pbc,
        )
        energies = member_mean(potential.evaluate(batch, pairs, forces="none").energies)
        self.n_evaluations += batch.n_systems
        slopes = (energies[:6] - energies[6:]) / (2 * step)
        return _numpy(slopes / torch.linalg.det(state.cells[0]).abs())


def _state_of(atoms: Any, device: torch.device) -> State:
    """One replica at rest, with the very positions, which a `Structure` would round."""
    if not len(atoms):
        raise SettingsError("there are no atoms: nothing has an energy")
    numbers = torch.from_numpy(atoms.numbers.astype(np.int64)).to(device)
    positions = torch.from_numpy(np.array(atoms.positions, np.float64)).to(device)
    cell = np.array(atoms.cell[:], np.float64) * bool(atoms.pbc.any())
    return State(
        replicas=(0,),
        sizes=(len(atoms),),
        positions=positions,
        velocities=torch.zeros_like(positions),
        forces=torch.zeros_like(positions),
        numbers=numbers,
        masses=torch.tensor(MASSES_AMU, device=device)[numbers],
        system_idx=torch.zeros_like(numbers),
        start_cells=torch.from_numpy(cell)[None].to(device),
        scale=torch.ones(1, dtype=torch.float64, device=device),
        pbc=torch.from_numpy(np.array(atoms.pbc, bool))[None].to(device),
    )


def _strained(state: State, step: float) -> Batch:
    """Copies of one replica under each strain, all positive ones before the negative ones."""
    strains = np.zeros((12, 3, 3))
    for row, (a, b) in enumerate(_VOIGT):
        strains[row, a, b] += step / 2
        strains[row, b, a] += step / 2
    strains[6:] = -strains[:6]
    device, n_atoms = state.positions.device, len(state.numbers)
    factors = torch.from_numpy(np.eye(3) + strains).to(device)
    return Batch(
        (state.positions @ factors).reshape(-1, 3),
        state.numbers.repeat(12),
        torch.arange(12, device=device).repeat_interleave(n_atoms),
        state.cells[0] @ factors,
        state.pbc.expand(12, 3).contiguous(),
    )


def _numpy(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.detach().to("cpu", torch.float64).numpy().copy()
    return array
