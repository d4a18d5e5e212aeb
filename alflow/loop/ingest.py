"""Takes finished work from the campaign directory into the store, one transaction each.

The same code runs at start and in every turn of the manager, so that resuming is not a special
path: committed items and results are taken in, attempts whose worker is gone are given back,
attempts that live on after the death of their manager are adopted by simply being left alone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from alflow.core.labels import Failure, FailureKind
from alflow.core.tasks import Outcome
from alflow.execution.files import CampaignFiles
from alflow.loop.predictions import prediction_rows
from alflow.store import AttemptRow, Store
from alflow.tasks.label import result_of_item

MAX_CHARGED = 3
"""Attempts that a task may spend on failures of its own."""

MAX_ATTEMPTS = 8
"""Attempts that workers may take of a task, those lost with their worker included."""

BACKOFF_S = 2.0
"""Wait before the second attempt [s]; doubles with each further one."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened, for the log and the screen.

    Attributes:
        kind: What happened, one word: done, failed, retry, lost, label, ...
        subject: What it happened to, for example `t-12` or `i3`.
        text: A sentence.
    """

    kind: str
    subject: str
    text: str


class Ingest:
    """Moves results from files to the store."""

    def __init__(
        self, store: Store, files: CampaignFiles, notify: Callable[[Notice], None]
    ) -> None:
        """Work on `store` and `files`; tell `notify` what happened."""
        self._store = store
        self._files = files
        self._notify = notify
        self._taken: dict[int, set[str]] = {}  # of tasks that have not ended

    def take(self, attempt: AttemptRow) -> bool:
        """Take in what an attempt has committed; True if the attempt has ended.

        The result is read before the items: a body commits its last item before its result, so
        that every item of an attempt whose result is there is there as well.
        """
        outcome = self._files.read_result(attempt.ref)
        if attempt.task.spec.items:
            self._take_items(attempt)
        if outcome is None:
            return False
        self._taken.pop(attempt.task.id, None)
        if outcome.failure is not None:
            self.give_back(attempt, outcome.failure)
        else:
            self._finish(attempt, outcome)
        return True

    def give_back(self, attempt: AttemptRow, failure: Failure) -> None:
        """End an attempt without a result: try again if that can help, else fail the task."""
        task = attempt.task
        charged = failure.kind is not FailureKind.LOST
        # An attempt that no worker ever took says nothing about the task: a manager that is killed
        # often, with a full queue, must not use its tasks up.
        n_taken = self._files.n_taken(task.id)
        tries_left = n_taken < MAX_ATTEMPTS and task.charged + charged < MAX_CHARGED
        name = f"t-{task.id} {task.spec.key}"
        if failure.is_retryable and tries_left:
            wait_s = BACKOFF_S * 2**task.charged if charged else 0.0
            self._store.requeue(
                attempt.ref, failure, charged=charged, not_before=time.time() + wait_s
            )
            self._notify(Notice("retry", f"t-{task.id}", f"{name}: {failure.message}"))
        else:
            self._store.fail_task(attempt.ref, failure)
            self._notify(Notice("failed", f"t-{task.id}", f"{name}: {failure.message}"))

    def _take_items(self, attempt: AttemptRow) -> None:
        task_id = attempt.task.id
        taken = self._taken.setdefault(task_id, set())
        found = self._files.read_items(task_id)
        new = {item: found[item] for item in found if item not in taken}
        if not new:
            return
        results = {item: result_of_item(value) for item, value in new.items()}
        program = next(iter(new.values()))["program"]
        self._store.commit_items(attempt.ref, results, program)
        taken.update(new)
        self._notify(Notice("labelled", f"t-{task_id}", f"{len(new)} calculations ended"))
        for item, result in results.items():
            if isinstance(result, Failure):
                text = f"no label for {item[:12]}: {result.message}"
                self._notify(Notice("label-failed", f"t-{task_id}", text))

    def _finish(self, attempt: AttemptRow, outcome: Outcome) -> None:
        spec = attempt.task.spec
        if spec.kind == "train":
            weights = self._files.read_output(attempt.ref, "weights")
            members, epochs = outcome.values["members"], outcome.values["epochs"]
            self._store.finish_training(attempt.ref, outcome, weights, members, epochs)
        elif spec.kind == "validate":
            rows = prediction_rows(self._files.read_output(attempt.ref, "predictions"))
            generation = spec.settings["generation"]
            self._store.add_predictions(attempt.ref, outcome, generation, rows)
        else:
            self._store.finish_task(attempt.ref, outcome)
        text = f"{spec.key} done in {outcome.wall_s:.1f} s"
        self._notify(Notice("done", f"t-{attempt.task.id}", text))
