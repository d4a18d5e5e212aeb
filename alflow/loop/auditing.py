"""Carries out audits: has labels computed again, and draws the consequences."""

from collections.abc import Callable, Mapping

import numpy as np

from alflow.config.campaign import AuditSettings, CampaignSettings
from alflow.core.batches import read_arrays
from alflow.core.held_out import HeldOutErrors
from alflow.core.labels import audit_level
from alflow.core.tasks import TaskState
from alflow.execution.files import CampaignFiles
from alflow.loop import audit, publish
from alflow.loop.batching import Known
from alflow.loop.ingest import Notice
from alflow.loop.plan import AUDIT, AUDITED, Action
from alflow.store import NewTask, Quality, Store, TaskRow
from alflow.store.audits import Labelled, audits, failed, labelled
from alflow.store.predictions import errors_by_label
from alflow.store.views import Progress

ROUTINE, DOUBT = "routine", "doubt"
"""Why labels are computed again; begins the part of the keys of their tasks."""


class Auditing:
    """What audits do to the store and the campaign directory."""

    def __init__(
        self,
        store: Store,
        settings: CampaignSettings,
        files: CampaignFiles,
        notify: Callable[[Notice], None],
        known: Callable[[str], Known],
    ) -> None:
        """Act on `store` and `files` as `settings` ask.

        Tell `notify` about wrong labels; `known` tells what labels of a level cost.
        """
        self._notify = notify
        self._known = known
        self._store = store
        self._settings = settings
        self._files = files
        self._level = settings.label.primary

    def routine(self, iteration: int) -> list[NewTask]:
        """Tasks that compute the random share of labels again, as far as it has not been.

        They go with an iteration's new labels, and are of earlier ones: nothing waits for them.
        """
        settings = self._settings.label.audit
        if settings is None or settings.fraction == 0:
            return []
        own = [one.structure for one in self._labelled().values() if one.is_own]
        wanted = audit.drawn(own, settings.fraction, self._settings.seed)
        return self._tasks(iteration, ROUTINE, self._unasked(wanted))

    def audit(self, action: Action, _view: Progress) -> None:
        """Put aside what has been refuted; ask about what is doubted next, or end the matter.

        While doubts prove right, more of them are followed up. Then a generation that learnt
        from labels which are wrong is trained again without them.
        """
        number, settings = action.iteration, self._settings.label.audit
        strange = {} if settings is None else self._strangeness(number)
        with self._store.together():
            told = [] if settings is None else self._put_aside(number, settings, strange)
            tasks = [] if settings is None else self._doubts(number, settings, strange)
            if tasks:
                self._move(number, AUDIT, tasks)
            elif phase := self._store.reconsider_generation(number):
                what = "trained" if phase == "label" else "tested"
                text = f"it was {what} on labels that are put aside: once more without them"
                told.append(Notice("withdrawn", f"g{number}", text))
            else:
                self._move(number, AUDITED, [])
        for notice in told:
            self._notify(notice)

    def _move(self, number: int, phase: str, tasks: list[NewTask]) -> None:
        self._store.add_structures([], tasks, iteration=number, phase=phase)

    def _put_aside(
        self, number: int, settings: AuditSettings, strange: Mapping[int, float]
    ) -> list[Notice]:
        """Put aside labels that were refuted, and those that were doubted and not confirmed.

        Only audits of this iteration count: who trusts a label in spite of one is not overruled.
        """
        with self._store.read() as connection:
            found = audits(connection, self._level)
            failures = failed(connection, self._level)
        asked, labels = self._asked(number), self._trusted()
        reasons = {
            one.label_id: audit.refutation(one, settings)
            for one in found
            if one.label_id in labels and one.structure in asked
        }
        for label_id in audit.doubted(strange, settings.sigma):
            structure = labels[label_id].structure if label_id in labels else ""
            if structure in failures and structure in asked:
                why = f"doubted, and it could not be computed again ({failures[structure]})"
                reasons[label_id] = why
        told = []
        for label_id, reason in reasons.items():
            if reason:
                self._store.set_quality([label_id], Quality.SUSPECT, reason)
                told.append(Notice("put-aside", f"l-{label_id}", reason))
        return told

    def _doubts(
        self, number: int, settings: AuditSettings, strange: Mapping[int, float]
    ) -> list[NewTask]:
        """Tasks for the labels that are doubted next; none if that is enough."""
        labels = self._trusted()
        names = [
            labels[one].structure
            for one in audit.doubted(strange, settings.sigma)
            if one in labels
        ]
        asked = self._asked(number, DOUBT)
        n_refuted = len(asked - {one.structure for one in labels.values()})
        n_own = sum(one.is_own for one in labels.values())
        n_left = audit.n_allowed(settings, n_own, n_refuted) - len(asked)
        return self._tasks(number, DOUBT, self._unasked(names)[: max(0, n_left)])

    def _strangeness(self, number: int) -> dict[int, float]:
        """How strange the labels are that the generation was trained and tested on."""
        found: dict[int, float] = {}
        for task in self._store.tasks(number, "train", TaskState.DONE):
            if (errors := self._held_out(task)) is not None:
                found |= audit.strangeness(errors)
        with self._store.read() as connection:
            tested = errors_by_label(connection, number)
        on_test = HeldOutErrors(
            np.array(list(tested), np.int64),
            np.array([one.energy_error for one in tested.values()], np.float64),
            np.array([one.force_rmse for one in tested.values()], np.float64),
        )
        return found | audit.strangeness(on_test)

    def _held_out(self, task: TaskRow) -> HeldOutErrors | None:
        """What a training said about labels that it held out; None if its trainer says nothing."""
        if task.last_attempt is None or task.outcome is None:
            return None
        if "held_out" not in task.outcome.outputs:
            return None
        content = self._files.read_output(task.last_attempt, "held_out")
        return HeldOutErrors(**read_arrays(content))

    def _tasks(self, number: int, why: str, hashes: list[str]) -> list[NewTask]:
        # Each round of an iteration has keys of its own, by what was asked before it.
        n_before = sum(len(task.spec.items) for task in self._audits(number, why))
        level = audit_level(self._level)
        return publish.label_tasks(
            self._settings,
            number,
            self._store.structures(hashes),
            self._files.write_blob,
            (level, f"{why}-{n_before}"),
            self._known(level),
        )

    def _audits(self, number: int, why: str) -> list[TaskRow]:
        """Tasks of an iteration that compute labels again, for one reason or for any."""
        prefix = f"label/{audit_level(self._level)}/i{number}/{why}"
        tasks = self._store.tasks(number, "label")
        return [task for task in tasks if task.spec.key.startswith(prefix)]

    def _asked(self, number: int, why: str = "") -> set[str]:
        """Structures whose labels have been computed again in an iteration."""
        return {item for task in self._audits(number, why) for item in task.spec.items}

    def _unasked(self, hashes: list[str]) -> list[str]:
        asked = self._store.requested(hashes, audit_level(self._level))
        return [one for one in hashes if one not in asked]

    def _trusted(self) -> dict[int, Labelled]:
        return {label: one for label, one in self._labelled().items() if one.is_trusted}

    def _labelled(self) -> dict[int, Labelled]:
        with self._store.read() as connection:
            return labelled(connection, self._level)
