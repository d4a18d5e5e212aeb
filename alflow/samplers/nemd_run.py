"""Nonequilibrium molecular dynamics: many replicas, each ending on its own."""

from collections.abc import Sequence

from alflow.core.sampling import Gate, Trajectory
from alflow.core.seeds import child_seed
from alflow.core.structures import Structure
from alflow.md.engine import Engine, Motion
from alflow.md.guards import Limits
from alflow.md.neighbours import FindPairs
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Potential
from alflow.samplers.judging import check_elements
from alflow.samplers.nemd import MdSettings
from alflow.samplers.replicas import Replica
from alflow.samplers.slots import Slots


class NemdSampler:
    """Runs one replica from each start until the gate, a guard or the clock ends it.

    The frames that come back are, for each replica, the one that the gate flagged, and the one at
    a check drawn at random beforehand ("audit"), if the replica gets there and is not flagged at
    that very check. The start itself is looked at too, but never drawn for audit.

    In the trace `temperature_K` is the kinetic temperature, while that of a `Frame` is the
    target.
    """

    def __init__(
        self, settings: MdSettings, find_pairs: FindPairs = neighbour_pairs
    ) -> None:
        """Keep the settings; `find_pairs` finds pairs from scratch."""
        self._settings = settings
        self._find_pairs = find_pairs

    def sample(
        self, starts: Sequence[Structure], potential: Potential, gate: Gate, seed: int
    ) -> list[Trajectory]:
        """Run one trajectory from each start, as many at once as there are slots.

        Replica k draws from the stream `child_seed(seed, k)` and nothing else; its path does not
        depend on the number of slots.

        Args:
            starts: Starting structures; their number is the number of replicas.
            potential: The ensemble.
            gate: Decides which frames the ensemble does not know.
            seed: Seed of the task.

        Raises:
            SettingsError: If the potential does not know an element, or the timestep is too long
                for one.
        """
        if not starts:
            return []
        check_elements(starts, potential)
        numbers = {int(number) for start in starts for number in start.numbers}
        self._settings.check_elements(numbers)
        replicas = [
            Replica.draw(start, child_seed(seed, k), self._settings)
            for k, start in enumerate(starts)
        ]
        engine = Engine(potential, _motion(self._settings), find_pairs=self._find_pairs)
        self._slots(potential, gate, engine, replicas).run()
        return [replica.trajectory() for replica in replicas]

    def _slots(
        self, potential: Potential, gate: Gate, engine: Engine, replicas: list[Replica]
    ) -> Slots:
        """What runs the replicas."""
        return Slots(self._settings, potential, gate, engine, replicas)


def _motion(settings: MdSettings) -> Motion:
    limits = Limits(
        settings.minimum_distance_factor,
        settings.temperature_limit_factor,
        settings.temperature_margin_K,
        settings.energy_limit_eV_per_atom,
        settings.minimum_volume_factor,
    )
    friction_per_fs = settings.friction_per_ps / 1000
    return Motion(settings.timestep_fs, friction_per_fs, settings.skin_A, limits)
