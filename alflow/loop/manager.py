"""The manager: the one process that writes to a campaign's store.

It keeps no state that it cannot read again. A turn takes in what has ended, gives back what was
lost, carries out the plan, and hands out work; the first turn after a crash is like any other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from alflow.core.failpoints import failpoint
from alflow.core.labels import Failure, FailureKind
from alflow.core.protocols import Executor
from alflow.loop.campaign import OpenCampaign
from alflow.loop.effects import Effects
from alflow.loop.ingest import Ingest, Notice
from alflow.loop.inputs import Inputs
from alflow.loop.plan import ActionKind, plan
from alflow.store import AttemptRow, CampaignState, StopMode
from alflow.store.views import progress

QUEUE_DEPTH = 2
"""Attempts handed to the executor for each of its slots: enough that no worker waits for the
manager, few enough that priorities and a stop stay in the manager's hands."""

TURN_S = 0.5
"""Longest time between two looks at the campaign directory [s]."""


class Ending(StrEnum):
    """Why `Manager.run` returned."""

    DECIDED = "decided"
    """The campaign has its final state."""
    DRAINED = "drained"
    """It was asked to stop; running tasks were finished first."""
    INTERRUPTED = "interrupted"
    """It was asked to stop now; running tasks were given back."""
    PAUSED = "paused"
    """The iterations that this run was to make are made."""


@dataclass(slots=True)
class StopSignal:
    """A request to stop, set by a signal handler and read by the manager.

    Attributes:
        mode: None to go on, `drain` to finish running tasks first, `now` to give them back.
    """

    mode: StopMode | None = None

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
        self._ingest = Ingest(campaign.store, campaign.files, notify)
        self._effects = Effects(campaign.store, campaign.settings, campaign.files)
        level = campaign.settings.label.primary
        self._inputs = Inputs(campaign.store, campaign.files, level)

    def run(self, *, last_iteration: int | None = None) -> Ending:
        """Turn until the campaign has its final state, or is asked to stop.

        Args:
            last_iteration: Do not begin an iteration beyond this one; None sets no limit.
        """
        while True:
            self._lease.confirm()
            mode = self._stop_mode()
            attempts = self._take_in(is_draining=mode is not None)
            if mode is StopMode.NOW:
                return Ending.INTERRUPTED
            if mode is StopMode.DRAIN:
                if not attempts:
                    return Ending.DRAINED
            else:
                ending = self._advance(last_iteration)
                if ending is not None:
                    return ending
                self._dispatch(len(attempts))
            self._executor.wait(TURN_S)

    def _take_in(self, *, is_draining: bool) -> list[AttemptRow]:
        """Take in everything that has ended; the attempts that have not."""
        failures = dict(self._executor.lost())
        still_open = []
        for attempt in self._store.open_attempts():
            if self._ingest.take(attempt):
                continue
            failure = self._loss(
                attempt, failures.get(attempt.ref), is_draining=is_draining
            )
            if failure is None:
                still_open.append(attempt)
            elif not self._ingest.take(attempt):  # it may have ended since the first look
                self._ingest.give_back(attempt, failure)
        return still_open

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

    def _stop_mode(self) -> StopMode | None:
        return self._stop.mode or self._store.stop_requested()

    def _advance(self, last_iteration: int | None) -> Ending | None:
        while True:
            view = progress(self._store)
            if view.state != CampaignState.RUNNING:
                return Ending.DECIDED
            actions = plan(view, self._settings)
            if not actions:
                return None
            for action in actions:
                begins = action.kind is ActionKind.BEGIN_ITERATION
                if (
                    begins
                    and last_iteration is not None
                    and action.iteration > last_iteration
                ):
                    return Ending.PAUSED
                self._effects.carry_out(action, view)
                self._notify(Notice(action.kind, f"i{action.iteration}", action.reason))

    def _dispatch(self, n_open: int) -> None:
        slots = self._executor.slots()
        room = QUEUE_DEPTH * max(slots.values()) - n_open
        for task in self._store.queued(slots):
            if room <= 0:
                break
            for name in self._inputs.ensure(task):
                text = f"{task.spec.key}: {name} was missing or damaged, and was made again"
                self._notify(Notice("input-remade", f"t-{task.id}", text))
            self._files.write_spec(task.id, task.spec)
            self._executor.submit(self._store.start_attempt(task.id))
            failpoint("manager.submitted")
            room -= 1
