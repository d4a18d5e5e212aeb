"""Takes finished work from the campaign directory into the store, one transaction each.

The same code runs at start and in every turn of the manager, so that resuming is not a special
path: committed items and results are taken in, attempts whose worker is gone are given back,
attempts that live on after the death of their manager are adopted by simply being left alone.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from alflow.core.labels import Failure
from alflow.core.properties import SuiteResult
from alflow.core.tasks import NOTES, Outcome
from alflow.execution.files import CampaignFiles
from alflow.loop.predictions import prediction_rows
from alflow.loop.publish import asks_about
from alflow.loop.retries import decide
from alflow.store import AttemptRow, Severity, Store
from alflow.store.properties import PROPERTY
from alflow.tasks.label import result_of_item

_STORED = {"train": ("weights",), "validate": ("predictions",)}
"""Kinds of task whose output files go into the store."""


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


@dataclass(frozen=True, slots=True)
class Found:
    """What is new of an attempt, as far as its files say.

    Attributes:
        attempt: The attempt.
        items: Results of items that have not been taken in, by hash.
        outcome: What the attempt ended with; None if it has not ended.
        outputs: Content of the output files that go into the store, by name.
    """

    attempt: AttemptRow
    items: Mapping[str, Mapping[str, Any]]
    outcome: Outcome | None
    outputs: Mapping[str, bytes]

    def lost(self, failure: Failure) -> "Found":
        """The same, of an attempt that will never have a result."""
        return replace(self, outcome=Outcome(failure=failure))


class Ingest:
    """Moves results from files to the store.

    To look at files and to write to the store are two steps: the first may take long, the second
    happens in a transaction that others wait for.
    """

    def __init__(
        self, store: Store, files: CampaignFiles, notify: Callable[[Notice], None]
    ) -> None:
        """Work on `store` and `files`; tell `notify` what happened."""
        self._store = store
        self._files = files
        self._notify = notify
        self._has_host_faults = False
        self._taken: dict[int, set[str]] = {}  # of tasks that have not ended

    def clear_host_faults(self) -> bool:
        """Whether an attempt failed on a host since the last call."""
        found, self._has_host_faults = self._has_host_faults, False
        return found

    def look(self, attempt: AttemptRow) -> Found:
        """What an attempt has committed since it was last taken in; nothing is written.

        The result is read before the items: a body commits its last item before its result, so
        that every item of an attempt whose result is there is there as well.
        """
        outcome = self._files.read_result(attempt.ref)
        items = self._new_items(attempt.task.id) if attempt.task.spec.items else {}
        is_good = outcome is not None and outcome.failure is None
        names = _STORED.get(attempt.task.spec.kind, ()) if is_good else ()
        outputs = {name: self._files.read_output(attempt.ref, name) for name in names}
        return Found(attempt, items, outcome, outputs)

    def take(self, found: Found) -> None:
        """Write to the store what was found."""
        attempt, outcome = found.attempt, found.outcome
        if found.items:
            self._take_items(attempt, found.items)
        if outcome is None:
            return
        self._tell_notes(attempt, outcome)
        if outcome.failure is not None:
            self.give_back(attempt, outcome.failure)
        else:
            self._finish(attempt, outcome, found.outputs)
        self._taken.pop(attempt.task.id, None)

    def give_back(self, attempt: AttemptRow, failure: Failure) -> None:
        """End an attempt without a result: try again if that can help, else fail the task."""
        task = attempt.task
        earlier = self._store.faults(task.id) if task.attempts > 1 else ()
        host = self._host(attempt)
        self._has_host_faults |= host is not None
        verdict = decide(failure, earlier, is_taken=host is not None)
        message = "; ".join(failure.message.splitlines())
        subject, text = f"t-{task.id}", f"t-{task.id} {task.spec.key}: {message}"
        if verdict.is_retried:
            self._store.requeue(
                attempt.ref,
                failure,
                charged=verdict.is_charged,
                not_before=time.time() + verdict.wait_s if verdict.wait_s else None,
                host=host,
            )
            wait = f"; again in {verdict.wait_s:.0f} s" if verdict.wait_s else ""
            self._notify(Notice("retry", subject, text + wait))
            return
        # Each item fails for its own reason; those without one with the task.
        if items := failure.details.get("items"):
            self._take_items(attempt, items)
        self._store.fail_task(attempt.ref, failure, host)
        if failure.is_retryable:
            text += f" ({verdict.retry_class}, {verdict.count} times: quarantined)"
        self._notify(
            Notice("quarantined" if failure.is_retryable else "failed", subject, text)
        )

    def _tell_notes(self, attempt: AttemptRow, outcome: Outcome) -> None:
        """Pass on what a worker has to say about an attempt, whatever came of it."""
        task = attempt.task
        for text in outcome.environment.get(NOTES, ()):
            data = {"task": task.spec.key, "message": text}
            self._store.event("note", Severity.WARNING, f"t-{task.id}", data)
            self._notify(Notice("note", f"t-{task.id}", f"{task.spec.key}: {text}"))

    def _host(self, attempt: AttemptRow) -> str | None:
        """Where an attempt ran; None if no worker ever took it."""
        claim = self._files.claim_of(attempt.ref)
        if claim is None or claim.is_revoked:
            return None
        return claim.host or "unknown"

    def _new_items(self, task_id: int) -> dict[str, dict[str, Any]]:
        taken = self._taken.get(task_id, set())
        found = self._files.read_items(task_id)
        return {item: found[item] for item in found if item not in taken}

    def _take_items(
        self, attempt: AttemptRow, new: Mapping[str, Mapping[str, Any]]
    ) -> None:
        task_id = attempt.task.id
        results = {item: result_of_item(value) for item, value in new.items()}
        program = next(iter(new.values()))["program"]
        self._store.commit_items(attempt.ref, results, program)
        self._taken.setdefault(task_id, set()).update(new)
        self._notify(Notice("labelled", f"t-{task_id}", f"{len(new)} calculations ended"))
        failed = {item: one for item, one in results.items() if isinstance(one, Failure)}
        numbers = self._store.structure_ids(list(failed)) if failed else {}
        for item, failure in failed.items():
            text = f"no label for s-{numbers[item]}: {failure.message}"
            self._notify(Notice("label-failed", f"t-{task_id}", text))

    def _finish(
        self, attempt: AttemptRow, outcome: Outcome, outputs: Mapping[str, bytes]
    ) -> None:
        spec = attempt.task.spec
        if spec.kind == "train":
            members, epochs = outcome.values["members"], outcome.values["epochs"]
            self._store.finish_training(
                attempt.ref, outcome, outputs["weights"], members, epochs
            )
        elif spec.kind == "validate":
            rows = prediction_rows(outputs["predictions"])
            generation = spec.settings["generation"]
            about = asks_about(spec.key)
            self._store.add_predictions(attempt.ref, outcome, generation, rows, about)
        elif spec.kind == PROPERTY:
            found = SuiteResult.from_json(outcome.values)
            self._store.add_properties(attempt.ref, outcome, found.properties)
        else:
            self._store.finish_task(attempt.ref, outcome)
        text = f"{spec.key} done in {outcome.wall_s:.1f} s"
        self._notify(Notice("done", f"t-{attempt.task.id}", text))
