"""Clusters cut from molecular dynamics: the replicas of `nemd`, looked at in small pieces."""

from collections.abc import Sequence

import numpy as np

from alflow.core.errors import SettingsError
from alflow.core.sampling import Gate, Spread, StopReason, Trajectory
from alflow.core.seeds import generator
from alflow.core.structures import Structure, lowest_multiplicity
from alflow.md.engine import Engine, Moment
from alflow.md.neighbours import FindPairs
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Potential
from alflow.samplers.bonds import Molecules, Near, near_pairs
from alflow.samplers.clusters import ClustersSettings
from alflow.samplers.judging import Judge, Judged
from alflow.samplers.nemd_run import NemdSampler
from alflow.samplers.replicas import Replica
from alflow.samplers.slots import Slots


class ClustersSampler(NemdSampler):
    """Runs replicas as `NemdSampler` does, and cuts clusters from them at every check.

    What comes back of a replica are the clusters that the gate flagged, each a free structure, and
    one that it did not flag, drawn at random at the check drawn for the audit or, if all were
    flagged there, at the next one. Step, time and temperature of a frame are those of the cut;
    the trace is that of the whole box. A replica that brought a flagged cluster and ran to its end
    counts as flagged.
    """

    def __init__(
        self, settings: ClustersSettings, find_pairs: FindPairs = neighbour_pairs
    ) -> None:
        """Keep the settings; `find_pairs` finds pairs from scratch."""
        super().__init__(settings, find_pairs)
        self._cuts = settings

    def sample(
        self, starts: Sequence[Structure], potential: Potential, gate: Gate, seed: int
    ) -> list[Trajectory]:
        """Run one trajectory from each start; see `NemdSampler.sample`.

        Raises:
            SettingsError: As there, and if a start is no collection of neutral molecules in
                their lowest spin state.
        """
        for k, start in enumerate(starts):
            _check_molecules(k, start, self._cuts)
        return super().sample(starts, potential, gate, seed)

    def _slots(
        self, potential: Potential, gate: Gate, engine: Engine, replicas: list[Replica]
    ) -> Slots:
        judge = Judge(self._cuts, potential, gate, self._find_pairs)
        return ClusterSlots(self._cuts, potential, gate, engine, replicas, judge)


class ClusterSlots(Slots):
    """Slots whose replicas bring back clusters instead of themselves."""

    def __init__(
        self,
        settings: ClustersSettings,
        potential: Potential,
        gate: Gate,
        engine: Engine,
        replicas: Sequence[Replica],
        judge: Judge,
    ) -> None:
        """Keep what is needed; `judge` judges the clusters."""
        super().__init__(settings, potential, gate, engine, replicas)
        self._cuts = settings
        self._judge = judge
        self._streams = [generator(replica.seed, "cuts") for replica in replicas]

    def run(self) -> None:
        """Step until every replica has ended."""
        super().run()
        for replica in self._replicas:
            is_finished = replica.stop_reason is StopReason.FINISHED
            if is_finished and _n_flagged(replica):
                replica.stop_reason = StopReason.FLAGGED

    def _bring_back(self, moment: Moment, system: int, spread: Spread) -> bool:
        number = moment.state.replicas[system]
        replica, stream = self._replicas[number], self._streams[number]
        if replica.time_fs < self._gate.grace_fs:
            return False
        box = moment.state.structure(system, replica.start)
        clusters = cut_clusters(box, self._potential.cutoff_A, self._cuts, stream)
        known = []
        for judged in self._judge.look(clusters):
            if judged.measure is not None:
                self._keep(replica, judged)
            elif judged.stopped is None:
                known.append(judged)
        is_due = replica.audit_step is not None and replica.n_steps >= replica.audit_step
        if known and is_due and _n_flagged(replica) == len(replica.frames):
            self._keep(replica, known[int(stream.integers(len(known)))])
        is_lost = self._gate.scaled(self._cuts.stop_factor).exceeded(spread) is not None
        return is_lost or _n_flagged(replica) >= self._cuts.frames

    def _keep(self, replica: Replica, judged: Judged) -> None:
        frame = self._judge.frame(
            judged,
            step=replica.n_steps,
            time_fs=replica.time_fs,
            temperature_K=replica.target_K,
        )
        replica.frames.append(frame)


def cut_clusters(
    box: Structure, reach_A: float, settings: ClustersSettings, stream: np.random.Generator
) -> list[Structure]:
    """Molecules drawn at random, each with its nearest neighbours, as free clusters.

    A molecule that is a network through images of the cell, or has more atoms than a cluster may
    have, is not cut.

    Args:
        box: Many molecules.
        reach_A: Largest distance between the closest atoms of neighbours [Å].
        settings: How many, how large.
        stream: Random numbers.
    """
    molecules = Molecules.of(box, settings.bond_factor)
    reach = near_pairs(molecules.whole, reach_A)
    sizes = np.bincount(molecules.of_atom)
    usable = [
        molecule
        for molecule in np.flatnonzero(sizes <= settings.largest_atoms).tolist()
        if molecule not in molecules.endless
    ]
    if not usable:
        return []
    low, high = settings.neighbours
    n_cuts = min(settings.cuts, len(usable))
    return [
        _cluster(
            molecules,
            int(centre),
            reach,
            int(stream.integers(low, high + 1)),
            settings.largest_atoms,
        )
        for centre in stream.choice(usable, size=n_cuts, replace=False)
    ]


def _cluster(
    molecules: Molecules, centre: int, reach: Near, n_neighbours: int, largest_atoms: int
) -> Structure:
    parts = [(centre, [0, 0, 0])]
    n_atoms = int((molecules.of_atom == centre).sum())
    for molecule, shift in molecules.around(centre, reach):
        n_more = int((molecules.of_atom == molecule).sum())
        if len(parts) > n_neighbours:
            break
        if molecule not in molecules.endless and n_atoms + n_more <= largest_atoms:
            parts.append((molecule, shift))
            n_atoms += n_more
    numbers = np.concatenate(
        [molecules.whole.numbers[molecules.of_atom == molecule] for molecule, _ in parts]
    )
    positions = np.concatenate([molecules.positions_of(*part) for part in parts])
    positions = positions - positions.mean(axis=0)
    return Structure(numbers, positions, multiplicity=lowest_multiplicity(numbers))


def _n_flagged(replica: Replica) -> int:
    return sum(frame.reason == "flagged" for frame in replica.frames)


def _check_molecules(k: int, start: Structure, settings: ClustersSettings) -> None:
    """Refuse a start of which no cluster can be cut, or none with a known charge and spin."""
    molecules = Molecules.of(start, settings.bond_factor)
    here = f"start {k} ({start.formula})"
    if len(molecules.endless) == molecules.n_molecules:
        raise SettingsError(
            f"{here} is a network of bonds through the cell, not a collection of molecules",
            consequence="no cluster can be cut without cutting bonds",
            next_step="use sample.kind nemd for metals and other networks, or lower "
            f"sample.bond_factor ({settings.bond_factor:g}) if these are molecules",
        )
    smallest = int(np.bincount(molecules.of_atom).min())
    if smallest > settings.largest_atoms:
        raise SettingsError(
            f"{here} has no molecule with less than {smallest} atoms, more than "
            f"sample.largest_atoms, {settings.largest_atoms}",
            next_step="raise sample.largest_atoms",
        )
    lowest = lowest_multiplicity(start.numbers)
    if start.charge or start.multiplicity != lowest:
        raise SettingsError(
            f"{here} has charge {start.charge} and multiplicity {start.multiplicity}; which of "
            "its molecules has them is not known",
            next_step="clusters takes neutral molecules in their lowest spin state",
        )
