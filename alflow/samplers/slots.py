"""Slots: replicas that run side by side, each replaced at once by the next when it ends."""

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from alflow.core.sampling import Frame, Gate, Spread, StopReason
from alflow.md.engine import Engine, Moment
from alflow.md.guards import pieces
from alflow.md.langevin import Bath
from alflow.md.spread import spreads
from alflow.md.state import State
from alflow.md.transfer import sent
from alflow.md.velocities import draw_noise, with_thermal_velocities
from alflow.models.potential import Batch, Forces, Potential
from alflow.samplers.nemd import MdSettings
from alflow.samplers.replicas import Replica


class Slots:
    """Runs replicas in a fixed number of slots until all have ended.

    A replica has a clock of its own, and whatever is computed for it follows from that clock: no
    bit of its path depends on which others run beside it, or on how many there are. Forces are
    rounded differently at checks, where those of all members are computed. So all replicas
    must be due for a check at the same time, and the next one starts when the others are at one.
    A replica that the gate flagged ended there, so that nothing waits; only the slot of one that a
    guard ended in between stays empty until then.

    Attributes:
        n_steps: Steps made, of however many replicas.
        n_replica_steps: The same for each replica, added up.
    """

    def __init__(
        self,
        settings: MdSettings,
        potential: Potential,
        gate: Gate,
        engine: Engine,
        replicas: Sequence[Replica],
    ) -> None:
        """Keep what is needed; the replicas are started in their order and changed in place."""
        self._settings = settings
        self._potential = potential
        self._gate = gate
        self._engine = engine
        self._replicas = replicas
        self._waiting = deque(range(len(replicas)))
        self._size = min(settings.slots, len(replicas))
        self._has_density = any(replica.density is not None for replica in replicas)
        self.n_steps = 0
        self.n_replica_steps = 0

    @property
    def busy(self) -> float:
        """Share of the slots that were busy, over all steps; 1 if there was no step."""
        n_slot_steps = self.n_steps * self._size
        return self.n_replica_steps / n_slot_steps if n_slot_steps else 1.0

    def run(self) -> None:
        """Step until every replica has ended."""
        moment = self._filled(None)
        while moment is not None:
            moment = self._filled(self._advanced(moment))

    def _filled(self, moment: Moment | None) -> Moment | None:
        """Start as many replicas as there is room for; None when none is left."""
        while self._waiting and (moment is None or self._is_check(moment)):
            room = self._size - (moment.state.n_systems if moment else 0)
            if room == 0:
                break
            room = min(room, len(self._waiting))
            new = self._started([self._waiting.popleft() for _ in range(room)])
            moment = moment.joined(new) if moment and new else moment or new
        return moment

    def _started(self, numbers: list[int]) -> Moment | None:
        """Replicas at their start, without those that ended there."""
        replicas = [self._replicas[k] for k in numbers]
        state = State.from_structures(
            [replica.start for replica in replicas],
            self._potential.device,
            replicas=numbers,
        )
        bath = Bath(self._targets(state), scale=self._scales(state))
        streams = [replica.stream for replica in replicas]
        state = with_thermal_velocities(state, bath.temperature_K, streams)
        return self._looked_at(self._engine.start(state, bath, "members"))

    def _advanced(self, moment: Moment) -> Moment | None:
        """Replicas one step later, without those that ended there."""
        state = moment.state
        replicas = self._running(state)
        for replica in replicas:
            replica.n_steps += 1
        self.n_steps += 1
        self.n_replica_steps += len(replicas)
        noise = None
        if self._settings.friction_per_ps > 0:
            numbers = draw_noise([replica.stream for replica in replicas], state.sizes)
            noise = sent(numbers, state.positions.device)
        bath = Bath(self._targets(state), noise, self._scales(state))
        forces: Forces = "members" if self._is_check(moment) else "mean"
        return self._looked_at(self._engine.advance(moment, bath, forces))

    def _looked_at(self, moment: Moment) -> Moment | None:
        """Note why replicas end; the others, or None."""
        stopped = dict(moment.stopped)
        if self._is_check(moment):
            stopped = self._check(moment) | stopped
        replicas = self._running(moment.state)
        for system, replica in enumerate(replicas):
            if replica.n_steps == replica.last_step:
                stopped.setdefault(system, StopReason.FINISHED)
        if not stopped:
            return moment
        for system, reason in stopped.items():
            replicas[system].stop_reason = reason
        alive = [system for system in range(len(replicas)) if system not in stopped]
        return moment.keep(alive) if alive else None

    def _is_check(self, moment: Moment) -> bool:
        """Whether the replicas are due for a check: all or none of them are."""
        first = self._replicas[moment.state.replicas[0]]
        return first.n_steps % self._settings.check_every == 0

    def _running(self, state: State) -> list[Replica]:
        return [self._replicas[k] for k in state.replicas]

    def _targets(self, state: State) -> Float[Tensor, " systems"]:
        return self._of_systems(state, lambda replica: replica.target_K)

    def _scales(self, state: State) -> Float[Tensor, " systems"] | None:
        if not self._has_density:
            return None
        return self._of_systems(state, lambda replica: replica.scale)

    def _of_systems(
        self, state: State, value: Callable[[Replica], float]
    ) -> Float[Tensor, " systems"]:
        values = np.array([value(replica) for replica in self._running(state)], np.float64)
        return sent(values, state.positions.device)

    def _check(self, moment: Moment) -> dict[int, StopReason]:
        """Look at the spread of each replica that still makes sense."""
        at_start, later = (
            moment.state.kinetic_temperature(is_momentum_free=is_free).tolist()
            for is_free in (True, self._settings.friction_per_ps == 0)
        )
        stopped = self._escaped(moment)
        for system, spread in enumerate(spreads(moment.evaluation, moment.state)):
            replica = self._replicas[moment.state.replicas[system]]
            if system in moment.stopped or system in stopped:
                continue
            if not spread.is_finite:
                stopped[system] = StopReason.NOT_FINITE
                continue
            has_ended = self._bring_back(moment, system, spread)
            if has_ended:
                stopped[system] = StopReason.FLAGGED
            if has_ended or replica.n_steps % replica.trace_every == 0:
                kinetic = at_start if replica.n_steps == 0 else later
                replica.note(spread, kinetic[system])
        return stopped

    def _bring_back(self, moment: Moment, system: int, spread: Spread) -> bool:
        """Keep a frame that is flagged or due for the audit; whether the replica ends with it."""
        replica = self._replicas[moment.state.replicas[system]]
        is_graced = replica.time_fs < self._gate.grace_fs
        measure = None if is_graced else self._gate.exceeded(spread)
        if measure is not None:
            replica.frames.append(self._frame(moment, system, spread, measure))
        elif replica.n_steps == replica.audit_step:
            replica.frames.append(self._frame(moment, system, spread, ""))
        return measure is not None

    def _escaped(self, moment: Moment) -> dict[int, StopReason]:
        """Replicas that fell apart since they started."""
        state = moment.state
        if not self._settings.stop_escaped or bool(state.pbc.all()):
            return {}
        escaped = {}
        counts = pieces(state, moment.pairs.pairs, self._potential.cutoff_A)
        for system, (replica, count) in enumerate(
            zip(self._running(state), counts, strict=True)
        ):
            if replica.n_steps == 0:
                replica.n_pieces = count
            elif count > replica.n_pieces and not bool(state.pbc[system].all()):
                escaped[system] = StopReason.ESCAPED
        return escaped

    def _frame(self, moment: Moment, system: int, spread: Spread, measure: str) -> Frame:
        replica = self._replicas[moment.state.replicas[system]]
        structure = moment.state.structure(system, replica.start)
        alone: Batch = moment.state.keep([system]).batch(self._potential.dtype)
        fingerprint = self._potential.fingerprint(alone, moment.pairs_of(system))[0]
        return Frame(
            structure,
            replica.n_steps,
            replica.time_fs,
            replica.target_K,
            spread,
            "flagged" if measure else "audit",
            measure,
            fingerprint.detach().to("cpu", torch.float64).numpy(),
        )
