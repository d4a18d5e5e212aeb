"""Frames that are made one after the other: what the ensemble says about them, what comes back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.core.sampling import Frame, Gate, Spread, StopReason, Trajectory
from alflow.core.seeds import generator
from alflow.core.structures import Structure
from alflow.md.engine import Engine, Motion
from alflow.md.guards import Limits
from alflow.md.langevin import Bath
from alflow.md.neighbours import FindPairs
from alflow.md.spread import spreads
from alflow.md.state import State
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch, Pairs, Potential
from alflow.samplers.replicas import TRACE_POINTS
from alflow.samplers.settings import SamplerSettings

MOST_ATOMS_TOGETHER = 16384
"""Atoms of one evaluation; with more the memory grows and nothing gets faster."""


@dataclass(frozen=True, eq=False, slots=True)
class Judged:
    """A frame and what there is to say about it.

    Attributes:
        structure: The frame.
        stopped: Why it makes no physical sense; None if it does.
        spread: What the ensemble says about it; None if it makes no sense.
        measure: The measure that exceeds its limit; None if the ensemble knows the frame.
        fingerprint: Descriptor of the whole structure, (features,); None until it is needed.
    """

    structure: Structure
    stopped: StopReason | None
    spread: Spread | None
    measure: str | None
    fingerprint: Float[np.ndarray, " features"] | None = None


class Judge:
    """Asks the ensemble about frames, and the gate about what it says.

    What makes no physical sense is never flagged: atoms too close, a cell without room for them,
    energies or forces that are not numbers.
    """

    def __init__(
        self,
        settings: SamplerSettings,
        potential: Potential,
        gate: Gate,
        find_pairs: FindPairs = neighbour_pairs,
    ) -> None:
        """Keep what is needed; the grace of the gate is a time and does not count here."""
        # nothing moves: a skin would only be searched in vain
        limits = Limits(settings.minimum_distance_factor)
        motion = Motion(timestep_fs=1.0, skin_A=0.0, limits=limits)
        self._engine = Engine(potential, motion, find_pairs=find_pairs)
        self._potential = potential
        self._gate = gate
        self._find_pairs = find_pairs

    def look(self, frames: Sequence[Structure]) -> list[Judged]:
        """Judge frames, as many together as are worth it."""
        return [judged for part in _parts(frames) for judged in self._look(part)]

    def frame(
        self, judged: Judged, *, step: int, time_fs: float = 0.0, temperature_K: float = 0.0
    ) -> Frame:
        """A judged frame as it comes back; flagged if a limit is exceeded, else for the audit.

        Raises:
            ValueError: If the frame makes no sense.
        """
        if judged.spread is None:
            raise ValueError("a frame that makes no sense does not come back")
        return Frame(
            judged.structure,
            step,
            time_fs,
            temperature_K,
            judged.spread,
            "audit" if judged.measure is None else "flagged",
            judged.measure or "",
            self._fingerprints([judged.structure])[0]
            if judged.fingerprint is None
            else judged.fingerprint,
        )

    def _look(self, frames: list[Structure]) -> list[Judged]:
        state = State.from_structures(frames, self._potential.device)
        moment = self._engine.start(state, Bath(torch.zeros_like(state.scale)), "members")
        found = []
        for system, spread in enumerate(spreads(moment.evaluation, state)):
            stopped = moment.stopped.get(system)
            if stopped is None and not spread.is_finite:
                stopped = StopReason.NOT_FINITE
            if stopped is not None:
                found.append(Judged(frames[system], stopped, None, None))
            else:
                measure = self._gate.exceeded(spread)
                found.append(Judged(frames[system], None, spread, measure))
        return self._with_fingerprints(found)

    def _with_fingerprints(self, found: list[Judged]) -> list[Judged]:
        """Describe those that come back, together because that is faster."""
        flagged = [k for k, judged in enumerate(found) if judged.measure is not None]
        fingerprints = self._fingerprints([found[k].structure for k in flagged])
        described = dict(zip(flagged, fingerprints, strict=True))
        return [
            replace(judged, fingerprint=described.get(k)) for k, judged in enumerate(found)
        ]

    def _fingerprints(
        self, structures: Sequence[Structure]
    ) -> Float[np.ndarray, "structures features"]:
        if not structures:
            return np.zeros((0, 0))
        batch, pairs = batch_and_pairs(structures, self._potential, self._find_pairs)
        found = self._potential.fingerprint(batch, pairs).detach()
        array: np.ndarray = found.to("cpu", torch.float64).numpy()
        return array


class Path:
    """Frames made from one start: the flagged ones come back, and one drawn for the audit.

    Frame 0 is the start (relaxed, perhaps): it may be flagged, but is never drawn. The audit frame
    is drawn from all others that were not flagged, each with the same probability.
    """

    def __init__(self, start: Structure, seed: int, judge: Judge) -> None:
        """Begin a path; `seed` is that of its own random stream."""
        self._start = start
        self._seed = seed
        self._judge = judge
        self._stream = generator(seed, "audit")
        self._step = -1
        self._flagged: list[Frame] = []
        self._audit: tuple[Judged, int, float] | None = None
        self._n_trusted = 0
        self._n_evaluations = 0
        self._unphysical: list[StopReason] = []
        self._stopped: StopReason | None = None
        self._trace: list[tuple[float, float, float, float]] = []

    def take(self, judged: Judged | StopReason, temperature_K: float = 0.0) -> bool:
        """Take the next frame; whether it was flagged.

        Args:
            judged: The frame, or why it cannot be made.
            temperature_K: Temperature of its displacements [K].
        """
        self._step += 1
        if isinstance(judged, StopReason):
            self._unphysical.append(judged)
            return False
        self.spend(1)
        if judged.stopped is not None or judged.spread is None:
            self._unphysical.append(judged.stopped or StopReason.NOT_FINITE)
            return False
        spread = judged.spread
        point = (float(self._step), temperature_K, spread.energy, spread.force_max)
        self._trace.append(point)
        if judged.measure is not None:
            frame = self._judge.frame(judged, step=self._step, temperature_K=temperature_K)
            self._flagged.append(frame)
            return True
        if self._step > 0:
            self._n_trusted += 1
            if self._stream.random() * self._n_trusted < 1:
                self._audit = judged, self._step, temperature_K
        return False

    def spend(self, n_evaluations: int) -> None:
        """Note evaluations of a whole frame besides those of frames that were taken."""
        self._n_evaluations += n_evaluations

    def stop(self, reason: StopReason) -> None:
        """Note that no more frames can be made, and why."""
        self._stopped = reason

    def trajectory(self, schedule: Mapping[str, float]) -> Trajectory:
        """The finished path.

        It is flagged if a frame was, unphysical if it was stopped or no frame made sense, and
        finished otherwise.

        Args:
            schedule: What was drawn for it.
        """
        frames = list(self._flagged)
        if self._audit is not None:
            judged, step, temperature_K = self._audit
            frames.append(self._judge.frame(judged, step=step, temperature_K=temperature_K))
        reason = StopReason.FINISHED
        if self._flagged:
            reason = StopReason.FLAGGED
        elif self._stopped is not None:
            reason = self._stopped
        elif not self._trace and self._unphysical:
            reason = self._unphysical[0]
        every = max(1, -(-len(self._trace) // TRACE_POINTS))
        columns = list(zip(*self._trace[::every], strict=True)) or [()] * 4
        names = ("step", "temperature_K", "energy_spread", "force_spread_max")
        return Trajectory(
            self._start,
            self._seed,
            {
                **schedule,
                "n_unphysical_frames": float(len(self._unphysical)),
                "n_evaluations": float(self._n_evaluations),
            },
            max(self._step, 0),
            0.0,
            reason,
            tuple(sorted(frames, key=lambda frame: frame.step)),
            {name: list(column) for name, column in zip(names, columns, strict=True)},
        )


def check_elements(starts: Sequence[Structure], potential: Potential) -> None:
    """Refuse starts with elements that the potential does not know.

    Raises:
        SettingsError: If there are some.
    """
    for k, start in enumerate(starts):
        unknown = sorted({int(z) for z in start.numbers} - set(potential.elements))
        if unknown:
            raise SettingsError(
                f"start {k} ({start.formula}) has {', '.join(SYMBOLS[z] for z in unknown)}, but "
                f"the potential knows only {', '.join(SYMBOLS[z] for z in potential.elements)}"
            )


def batch_and_pairs(
    structures: Sequence[Structure],
    potential: Potential,
    find_pairs: FindPairs = neighbour_pairs,
    *,
    skin_A: float = 0.0,
) -> tuple[Batch, Pairs]:
    """Structures as a potential wants them, with all pairs within its cutoff and a skin [Å]."""
    state = State.from_structures(structures, potential.device)
    pairs = find_pairs(state.batch(torch.float64), potential.cutoff_A + skin_A)
    shifts = pairs.shifts.to(potential.dtype)
    return state.batch(potential.dtype), Pairs(pairs.i, pairs.j, shifts)


def moved(
    structure: Structure, positions: Float[np.ndarray, "atoms 3"]
) -> Structure | None:
    """The structure with other positions [Å]; None if one of them is not a number."""
    if not np.isfinite(positions).all():
        return None
    return Structure(
        structure.numbers,
        positions,
        structure.cell,
        structure.pbc,
        structure.charge,
        structure.multiplicity,
    )


def _parts(frames: Sequence[Structure]) -> Iterator[list[Structure]]:
    part: list[Structure] = []
    n_atoms = 0
    for frame in frames:
        if part and n_atoms + frame.n_atoms > MOST_ATOMS_TOGETHER:
            yield part
            part, n_atoms = [], 0
        part.append(frame)
        n_atoms += frame.n_atoms
    if part:
        yield part
