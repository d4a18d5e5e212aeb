"""The manager: the one process that writes to a campaign's store.

It keeps no state that it cannot read again. A turn takes in what has ended, gives back what was
lost, hands out work, and carries out the plan when there is none; the first turn after a crash is
like any other. What a turn takes in and what it leases is one transaction: results before they
count, attempts before they are dispatched.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from alflow.core.failpoints import failpoint
from alflow.core.labels import Failure, FailureKind
from alflow.core.protocols import Executor
from alflow.core.tasks import MOST_ATOMS, AttemptRef
from alflow.loop import retries
from alflow.loop.campaign import OpenCampaign
from alflow.loop.effects import Effects
from alflow.loop.ingest import Found, Ingest, Notice
from alflow.loop.inputs import Inputs
from alflow.loop.overlap import is_asynchronous
from alflow.loop.plan import BEGINNINGS, plan
from alflow.store import AttemptRow, CampaignState, Glance, Severity, StopMode, TaskRow
from alflow.store.faults import POOL_CLOSED, POOL_OPEN
from alflow.store.room import most_atoms
from alflow.store.views import SAMPLE, progress

QUEUE_DEPTH = 2
"""Attempts handed to the executor for each of its slots: enough that no worker waits for the
manager, few enough that priorities and a stop stay in the manager's hands."""

TURN_S = 0.5
"""Longest time between two turns, and shortest between two looks at every open attempt [s]."""

SWEEP_SHARE = 0.05
"""Share of its time that the manager may spend looking at every open attempt: with thousands of
them on a slow file system it does so less often, and goes by what its executor tells."""


class Ending(StrEnum):
    """Why `Manager.run` returned."""

    DECIDED = "decided"
    """The campaign has its final state."""
    DRAINED = "drained"
    """It was asked to stop; running tasks were finished first."""
    INTERRUPTED = "interrupted"
    """It was asked to stop now; running tasks were given back."""
    DETACHED = "detached"
    """It was asked to leave; running tasks go on without it."""
    PAUSED = "paused"
    """The iterations that this run was to make are made."""


@dataclass(slots=True)
class StopSignal:
    """A request to stop, set by a signal handler and read by the manager.

    Attributes:
        mode: None to go on, `drain` to finish running tasks first, `now` to give them back.
        detaches: Whether the manager leaves at the first request and running tasks go on
            without it; the next manager takes their results in.
    """

    mode: StopMode | None = None
    detaches: bool = False

    def press(self) -> None:
        """Ask to drain; asked again, ask to stop now."""
        self.mode = StopMode.NOW if self.mode else StopMode.DRAIN


class Manager:
    """Runs a campaign from wherever it stands to its end."""

    def __init__(
        self,
        campaign: OpenCampaign,
        executor: Executor,
        notify: Callable[[Notice], None],
        stop: StopSignal | None = None,
    ) -> None:
        """Work on an opened campaign with some workers; tell `notify` what happens."""
        self._lease = campaign.lease
        self._store = campaign.store
        self._settings = campaign.settings
        self._files = campaign.files
        self._executor = executor
        self._notify = notify
        self._stop = stop or StopSignal()
        self._untold: list[Notice] = []
        self._ingest = Ingest(campaign.store, campaign.files, self._untold.append)
        self._effects = Effects(
            campaign.store,
            campaign.settings,
            campaign.files,
            self._notify,
            lambda: executor.slots().get("label", 0),
        )
        level = campaign.settings.label.primary
        self._inputs = Inputs(campaign.store, campaign.files, level)
        self._overlaps = is_asynchronous(campaign.settings)
        self._is_planned = False
        self._next_sweep = 0.0
        self._only: str | None = None
        self._excluded: frozenset[str] = frozenset()

    def run(self, *, last_iteration: int | None = None, only: str | None = None) -> Ending:
        """Turn until the campaign has its final state, or is asked to stop.

        Args:
            last_iteration: Do not begin an iteration beyond this one; None sets no limit.
            only: Do the tasks of this kind and nothing else, then return; the plan waits.

        Raises:
            SiteError: If nothing will run what is left to do.
            SiteLost: If the executor broke and a new process might mend it.
        """
        self._look_at_hosts()
        self._only = only
        hints: Sequence[AttemptRef] = ()
        while True:
            glance = self._glance()
            if self._stop.mode is not None and self._stop.detaches:
                return Ending.DETACHED
            mode = self._asked_to_stop(glance)
            glance = self._take_in_and_lease(hints, glance, is_draining=mode is not None)
            self._tell_news()
            if mode is StopMode.NOW:
                return Ending.INTERRUPTED
            if mode is StopMode.DRAIN:
                if not glance.leased:
                    return Ending.DRAINED
            elif only is not None and not (glance.queued.get(only) or glance.leased):
                return Ending.PAUSED
            elif not glance.has_work or (self._overlaps and not self._is_planned):
                self._is_planned = True
                ending = self._advance(last_iteration, is_idle=not glance.has_work)
                if ending is not None:
                    return ending
                hints = ()
                continue
            elif not glance.leased:
                self._give_up_if_refused()
            hints = self._executor.wait(TURN_S)

    def _asked_to_stop(self, glance: Glance) -> StopMode | None:
        """How to stop, if so; a signal is written down for those who watch."""
        wanted = self._stop.mode
        if wanted in (None, glance.stop) or glance.stop is StopMode.NOW:
            return glance.stop
        self._store.request_stop(now=wanted is StopMode.NOW)
        return wanted

    def _glance(self) -> Glance:
        """How things stand, once what people asked to be tried again is queued."""
        glance = self._store.glance()
        if not glance.is_retry_asked:
            return glance
        taken = self._store.take_up_retries()
        self._is_planned = False
        for number in taken.queued:
            self._notify(Notice("retry", f"t-{number}", f"t-{number}: somebody asked"))
        for number in taken.withdrawn:
            text = f"generation {number} is planned anew: somebody asked"
            self._notify(Notice("retry", f"g{number}", text))
        return self._store.glance()

    def _take_in_and_lease(
        self, hints: Sequence[AttemptRef], glance: Glance, *, is_draining: bool
    ) -> Glance:
        """Take in what has ended and hand out what may start; how things stand then."""
        ended = self._look(hints, is_draining=is_draining)
        has_room = not is_draining and any(self._room(glance).values())
        if not ended and not has_room:
            return glance
        self._is_planned &= not ended
        tasks: list[TaskRow] = []
        with self._store.together():
            for one in ended:
                self._ingest.take(one)
            if ended:
                glance = self._store.glance()
            if not is_draining:
                tasks = self._next_tasks(glance)
            attempts = self._store.start_attempts([task.id for task in tasks])
        self._tell()
        if self._ingest.clear_host_faults():
            self._look_at_hosts()
        is_sampling = any(task.spec.kind == SAMPLE for task in tasks)
        room = most_atoms(self._store) if is_sampling else {}
        for task, attempt in zip(tasks, attempts, strict=True):
            self._hand_out(task, attempt, room)
        return glance.after(attempts)

    def _look(self, hints: Sequence[AttemptRef], *, is_draining: bool) -> list[Found]:
        """What is new: of every open attempt now and then, else where the executor says."""
        failures = dict(self._executor.lost())
        begun = time.monotonic()
        is_sweep = is_draining or begun >= self._next_sweep
        if not is_sweep and not hints and not failures:
            return []
        tokens = None if is_sweep else [ref.token for ref in (*hints, *failures)]
        news, others = [], []
        for attempt in self._store.open_attempts(tokens):
            told = failures.get(attempt.ref)
            found = self._ingest.look(attempt)
            if found.outcome is None and (is_sweep or told is not None):
                found = self._look_for_loss(found, told, is_draining=is_draining)
            if found.items or found.outcome is not None:
                news.append(found)
            if found.outcome is None and attempt.epoch != self._lease.epoch:
                others.append(attempt.ref)
        if is_sweep:
            self._executor.adopted(others)
            end = time.monotonic()
            self._next_sweep = end + max(TURN_S, (end - begun) / SWEEP_SHARE)
        return news

    def _look_for_loss(
        self, found: Found, told: Failure | None, *, is_draining: bool
    ) -> Found:
        failure = self._loss(found.attempt, told, is_draining=is_draining)
        if failure is None:
            return found
        again = self._ingest.look(found.attempt)  # it may have ended since the first look
        return again if again.outcome is not None else again.lost(failure)

    def _look_at_hosts(self) -> None:
        """Give no more work to hosts on which one task after the other fails."""
        found = {one.host: one for one in self._store.excluded_hosts()}
        if found.keys() == self._excluded:
            return
        pools = self._executor.exclude(sorted(found))
        where = f"left out of {', '.join(pools)}" if pools else "no pool can leave it out"
        for host in sorted(found.keys() - self._excluded):
            tasks = ", ".join(f"t-{number}" for number in found[host].tasks)
            text = f"{tasks} failed there, one after the other; {where}"
            data = {"message": text, "last": found[host].message}
            self._store.event("host-excluded", Severity.WARNING, host, data)
            self._notify(Notice("host-excluded", host, text))
        self._excluded = frozenset(found)

    def _tell_news(self) -> None:
        for one in self._executor.news():
            closed = {True: POOL_CLOSED, False: POOL_OPEN, None: "pool"}[one.is_closed]
            severity = Severity.INFO if one.is_closed is False else Severity.WARNING
            subject = f"pool {one.pool}"
            self._store.event(closed, severity, subject, {"message": one.text})
            self._notify(Notice(closed, subject, one.text))

    def _give_up_if_refused(self) -> None:
        """Nothing runs and nothing was handed out: say so if nothing ever will be.

        Raises:
            SiteError: If tasks wait that no pool will run.
        """
        refusals = self._executor.refusals()
        if refusals and self._store.queued(dict.fromkeys(refusals, 1)):
            raise next(iter(refusals.values()))

    def _loss(
        self, attempt: AttemptRow, told: Failure | None, *, is_draining: bool
    ) -> Failure | None:
        """Why an attempt without a result will never have one; None if it still may."""
        if self._files.claim_of(attempt.ref) is None:
            is_mine = attempt.epoch == self._lease.epoch
            if told is None and is_mine and not is_draining:
                return None
            # Nobody may start it from now on, whatever queue it still sits in.
            if self._files.revoke(attempt.ref):
                return told or Failure(FailureKind.LOST, "no worker had taken it")
        if self._files.is_alive(attempt.ref):
            return None
        return told or Failure(FailureKind.LOST, "its worker is gone")

    def _advance(self, last_iteration: int | None, *, is_idle: bool) -> Ending | None:
        """Carry out the plan until it waits for tasks, or the campaign ends; why it ends.

        `is_idle` tells that no task waits or runs.
        """
        while True:
            view = progress(self._store)
            if view.state != CampaignState.RUNNING:
                return Ending.DECIDED
            actions = plan(view, self._settings)
            if not actions:
                return None
            for action in actions:
                begins = action.kind in BEGINNINGS
                if (
                    begins
                    and last_iteration is not None
                    and action.iteration > last_iteration
                ):
                    return Ending.PAUSED if is_idle else None
                self._effects.carry_out(action, view)
                self._notify(Notice(action.kind, f"i{action.iteration}", action.reason))

    def _room(self, glance: Glance) -> Mapping[str, int]:
        """How many attempts of each kind with queued tasks its pool may be given."""
        pools = self._executor.pools()
        handed_out: Counter[str] = Counter()
        for kind, n in glance.leased.items():
            handed_out[pools.get(kind, "")] += n
        return {
            kind: max(0, QUEUE_DEPTH * slots - handed_out[pools[kind]])
            for kind, slots in self._executor.slots().items()
            if kind in glance.queued and self._only in (None, kind)
        }

    def _next_tasks(self, glance: Glance) -> list[TaskRow]:
        """Tasks to hand out, the most urgent first: no pool gets more than it has room for."""
        room, pools = self._room(glance), self._executor.pools()
        left = {pools[kind]: n for kind, n in room.items()}
        tasks = []
        for task in self._store.queued(room):
            pool = pools[task.spec.kind]
            if left[pool] > 0:
                left[pool] -= 1
                tasks.append(task)
        return tasks

    def _hand_out(
        self, task: TaskRow, attempt: AttemptRef, room: Mapping[str, int]
    ) -> None:
        for name in self._inputs.ensure(task):
            text = f"{task.spec.key}: {name} was missing or damaged, and was made again"
            self._notify(Notice("input-remade", f"t-{task.id}", text))
        needs_more = task.charged > 0 and retries.needs_more(self._store.faults(task.id))
        spec = retries.larger(task.spec) if needs_more else task.spec
        if room and spec.kind == SAMPLE:
            spec = replace(spec, settings={**spec.settings, MOST_ATOMS: dict(room)})
        self._files.write_spec(task.id, spec)
        self._executor.submit(attempt, larger=needs_more)
        failpoint("manager.submitted")

    def _tell(self) -> None:
        """Pass on what has been committed by now."""
        told, self._untold[:] = list(self._untold), []
        for notice in told:
            self._notify(notice)
