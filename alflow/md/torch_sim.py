"""An ensemble as a model of TorchSim: its integrators and optimisers, many systems at once.

TorchSim is an optional dependency, imported with this module and nowhere else.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from alflow.core.elements import SYMBOLS
from alflow.core.errors import PluginError, SettingsError
from alflow.md.neighbours import FindPairs, VerletList
from alflow.md.spread import mean_forces, member_mean
from alflow.md.state import State
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch, Potential

try:
    from torch_sim.models.interface import ModelInterface
    from torch_sim.state import SimState
except ImportError as error:
    raise PluginError(
        "TorchSim is not installed here",
        code="AL201",
        next_step='pip install "alflow[torchsim]"',
    ) from error

STRAINS = {torch.float64: 1e-4, torch.float32: 1e-3}
"""Strain by which the stress is measured: small, but well above what rounding changes."""


class TorchSimModel(ModelInterface):  # type: ignore[misc, unused-ignore]
    """Energy, forces and stress of the mean of an ensemble, and its spread, for TorchSim.

    The states are in float64, whatever the arithmetic of the ensemble, and in the units of both:
    eV, Å. The result has, besides `energy`, `forces` and `stress` (if they are computed):

    - `member_energies`: energy by each member [eV], (systems, members);
    - `energy_spread`: standard deviation of the energy over members, divided by the square root
      of the number of atoms [eV], (systems,), what a campaign's limit is compared with;
    - `force_spread`: for each atom the norm over x, y, z of the standard deviation of the force
      over members [eV/Å], (atoms,), with `spread="members"`.

    A potential without a method `stresses` is strained and evaluated twelve times for the stress.
    The stress of a system that is not periodic in all directions is zero.
    """

    def __init__(
        self,
        potential: Potential,
        *,
        compute_forces: bool = True,
        compute_stress: bool = False,
        spread: Literal["mean", "members"] = "members",
        skin_A: float = 1.0,
        find_pairs: FindPairs = neighbour_pairs,
    ) -> None:
        """Keep the potential.

        Args:
            potential: The ensemble, for example from `alflow.models.loading.load_potential`.
            compute_forces: Whether forces are wanted.
            compute_stress: Whether the stress is wanted.
            spread: With "mean" the forces of single members are not computed, which is faster.
            skin_A: Skin of the neighbour list [Å]; changes the speed only.
            find_pairs: Finds pairs from scratch.
        """
        super().__init__()
        self._potential = potential
        self._device = potential.device
        self._dtype = torch.float64
        self._compute_forces = compute_forces
        self._compute_stress = compute_stress
        self._forces: Literal["mean", "members"] = spread
        self._skin_A = skin_A
        self._find_pairs = find_pairs
        self._listed: tuple[State, VerletList] | None = None

    @property
    def compute_stress(self) -> bool:
        """Whether the stress is computed."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, value: bool) -> None:
        self._compute_stress = value

    @property
    def compute_forces(self) -> bool:
        """Whether forces are computed."""
        return self._compute_forces

    @compute_forces.setter
    def compute_forces(self, value: bool) -> None:
        self._compute_forces = value

    def forward(self, state: Any, **_: Any) -> dict[str, Tensor]:
        """What the ensemble says about the systems of a state.

        Args:
            state: A state of TorchSim, or the mapping that older versions of it pass.

        Raises:
            SettingsError: If the ensemble does not know an element.
        """
        ours = _state_of(state)
        self._check_elements(ours)
        pairs = self._pairs(ours)
        batch = ours.batch(self._potential.dtype)
        wanted = self._forces if self._compute_forces else "none"
        found = self._potential.evaluate(batch, pairs.pairs, forces=wanted)
        result = {
            "energy": member_mean(found.energies),
            "member_energies": found.energies.T.contiguous(),
            "energy_spread": found.energy_spread() / ours.n_atoms.sqrt(),
        }
        if self._compute_forces:
            result["forces"] = mean_forces(found)
            if found.member_forces is not None:
                result["force_spread"] = found.force_spread()
        if self._compute_stress:
            result["stress"] = self._stresses(ours)
        return {name: value.detach().to(self._dtype) for name, value in result.items()}

    def _check_elements(self, state: State) -> None:
        known = torch.tensor(self._potential.elements, device=state.numbers.device)
        strange = state.numbers[~torch.isin(state.numbers, known)]
        unknown = torch.unique(strange).tolist()
        if unknown:
            raise SettingsError(
                f"the ensemble does not know {', '.join(SYMBOLS[z] for z in unknown)}; "
                f"it knows {', '.join(SYMBOLS[z] for z in self._potential.elements)}"
            )

    def _pairs(self, state: State) -> VerletList:
        """The list of the last call where the systems have the same sizes and cells."""
        if self._listed is not None and _are_alike(self._listed[0], state):
            self._listed[1].update(state)
            return self._listed[1]
        pairs = VerletList(
            state,
            self._potential.cutoff_A,
            skin_A=self._skin_A,
            dtype=self._potential.dtype,
            find_pairs=self._find_pairs,
        )
        self._listed = (state, pairs)
        return pairs

    def _stresses(self, state: State) -> Float[Tensor, "systems 3 3"]:
        """Stress [eV/Å³], tensile positive."""
        potential = self._potential
        if callable(own := getattr(potential, "stresses", None)):
            batch = state.batch(potential.dtype)
            stresses: Tensor = own(batch, self._find_pairs(batch, potential.cutoff_A))
            return stresses.to(torch.float64)
        is_bulk = state.pbc.all(dim=1)
        volumes = torch.where(is_bulk, torch.linalg.det(state.cells).abs(), torch.inf)
        found = torch.zeros_like(state.cells)
        step = STRAINS.get(potential.dtype, max(STRAINS.values()))
        for a in range(3):
            for b in range(a, 3):
                strain = torch.zeros(3, 3, dtype=torch.float64, device=volumes.device)
                strain[a, b] += step / 2
                strain[b, a] += step / 2
                rise = self._strained(state, strain) - self._strained(state, -strain)
                found[:, a, b] = found[:, b, a] = rise / (2 * step * volumes)
        return found

    def _strained(
        self, state: State, strain: Float[Tensor, "3 3"]
    ) -> Float[Tensor, " systems"]:
        """Mean energies [eV] with positions and cells strained."""
        factor = torch.eye(3, dtype=strain.dtype, device=strain.device) + strain
        dtype = self._potential.dtype
        batch = Batch(
            (state.positions @ factor).to(dtype),
            state.numbers,
            state.system_idx,
            (state.cells @ factor).to(dtype),
            state.pbc,
        )
        pairs = self._find_pairs(batch, self._potential.cutoff_A)
        return member_mean(self._potential.evaluate(batch, pairs, forces="none").energies)


def _state_of(given: Any) -> State:
    """Replicas at rest; TorchSim has cells as columns, and one periodicity for all systems."""
    if not isinstance(given, SimState):
        given = SimState(**{"masses": torch.ones_like(given["positions"][:, 0]), **given})
    positions = given.positions.detach().to(torch.float64)
    n_systems = len(given.cell)
    pbc = torch.as_tensor(given.pbc, device=positions.device).to(torch.bool)
    pbc = pbc.expand(n_systems, 3).contiguous()
    cells = given.row_vector_cell.detach().to(torch.float64)
    sizes = torch.bincount(given.system_idx, minlength=n_systems)
    return State(
        replicas=tuple(range(n_systems)),
        sizes=tuple(sizes.tolist()),
        positions=positions,
        velocities=torch.zeros_like(positions),
        forces=torch.zeros_like(positions),
        numbers=given.atomic_numbers.to(torch.long),
        masses=given.masses.to(torch.float64),
        system_idx=given.system_idx.to(torch.long),
        start_cells=cells * pbc.any(dim=1)[:, None, None],
        scale=torch.ones(n_systems, dtype=torch.float64, device=positions.device),
        pbc=pbc,
    )


def _are_alike(one: State, other: State) -> bool:
    """Whether a neighbour list of one state can be renewed for the other."""
    return (
        one.sizes == other.sizes
        and torch.equal(one.start_cells, other.start_cells)
        and torch.equal(one.pbc, other.pbc)
    )
