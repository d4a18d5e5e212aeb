"""The store: every verb is one transaction, and doing it twice is doing it once."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from alflow.core.datasets import Dataset, LabelledStructure
from alflow.core.labels import Failure, Label
from alflow.core.properties import Property
from alflow.core.sampling import Selection
from alflow.core.structures import Structure
from alflow.core.tasks import AttemptRef, Outcome, TaskState
from alflow.store import (
    blobs,
    bulk,
    curation,
    datasets,
    digest,
    faults,
    generations,
    importing,
    labels,
    properties,
    publishing,
    selection,
    structures,
    work,
)
from alflow.store.codec import Number
from alflow.store.faults import ExcludedHost, Fault
from alflow.store.generations import TasksOfSnapshot
from alflow.store.importing import ImportResult, ImportSource, NewLabelled
from alflow.store.rows import (
    AttemptRow,
    GateVerdict,
    NewStructure,
    NewTask,
    PredictionRow,
    Quality,
    TaskRow,
    TrajectoryRow,
)
from alflow.store.session import Session
from alflow.store.transaction import utc_now


class Store(Session):
    """A campaign's database. Made by `open_store`; use it as a context manager.

    Verbs that write need the lease (`acquire_lease`) and raise `LeaseHeld`, having written
    nothing, once another manager has taken over. The exceptions are `create_campaign` and
    `request_stop`. Any verb raises `StoreError` if the database cannot do what it is asked.
    """

    def __enter__(self) -> "Store":  # noqa: PYI034 (the shape checks of the tests cannot see through Self)
        """Use it for a block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def publish(self, tasks: Sequence[NewTask], *, phase: str | None = None) -> int:
        """Insert the tasks whose keys are new, in order; return how many there were.

        For label tasks a label id is reserved for each item (a structure's hash) that has none at
        this level yet. With `phase` the iterations of the tasks move to that phase.
        """
        with self._write("publish") as tx:
            for number in sorted({new.iteration for new in tasks} if phase else ()):
                tx.set_phase(number, phase or "")
            return publishing.publish(tx, tasks)

    def queued(self, limit_by_kind: Mapping[str, int]) -> list[TaskRow]:
        """Tasks that may start now, at most so many of each kind, the most urgent first."""
        with self.read() as connection:
            return work.queued(connection, utc_now(), limit_by_kind)

    def tasks(
        self, iteration: int, kind: str, state: TaskState | None = None
    ) -> list[TaskRow]:
        """Tasks of one kind in one iteration, with outcomes, by id."""
        with self.read() as connection:
            return work.tasks(connection, iteration, kind, state)

    def start_attempt(self, task_id: int) -> AttemptRef:
        """Lease a queued task to a new attempt, before it is handed to a worker."""
        with self._write("start-attempt") as tx:
            return work.start_attempts(tx, [task_id], self._held().holder)[0]

    def start_attempts(self, task_ids: Sequence[int]) -> list[AttemptRef]:
        """Lease queued tasks to new attempts, before they are handed to workers; in order."""
        if not task_ids:
            return []
        with self._write("start-attempt") as tx:
            return work.start_attempts(tx, task_ids, self._held().holder)

    def open_attempts(self, tokens: Sequence[str] | None = None) -> list[AttemptRow]:
        """Attempts without an end, of earlier managers too, the oldest first.

        Args:
            tokens: Only attempts with these tokens; None for all.
        """
        with self.read() as connection:
            return work.open_attempts(connection, tokens)

    def finish_task(
        self, attempt: AttemptRef, outcome: Outcome, extra_publish: Sequence[NewTask] = ()
    ) -> bool:
        """End a task with its result and publish what follows from it.

        Requested labels that have not been committed by then fail.

        Returns:
            False if the task is not leased by this attempt: the result is late and dropped.
        """
        with self._write("finish-task") as tx:
            if not work.finish(tx, attempt, outcome):
                return False
            publishing.publish(tx, extra_publish)
            return True

    def requeue(
        self,
        attempt: AttemptRef,
        failure: Failure,
        *,
        charged: bool,
        not_before: float | None = None,
        host: str | None = None,
    ) -> bool:
        """End an attempt and queue its task again; False if it had ended already.

        Args:
            attempt: The attempt.
            failure: Why it ended.
            charged: Whether the task is to blame.
            not_before: Earliest time to start again [s since 1970, UTC].
            host: Where it ran; None if no worker ever took it.
        """
        with self._write("requeue") as tx:
            return work.requeue(
                tx, attempt, failure, charged=charged, not_before=not_before, host=host
            )

    def fail_task(
        self, attempt: AttemptRef, failure: Failure, host: str | None = None
    ) -> bool:
        """End a task, with its pending labels; False if it had ended already.

        Args:
            attempt: The attempt.
            failure: Why it ended.
            host: Where it ran; None if no worker ever took it.
        """
        with self._write("fail-task") as tx:
            return work.fail(tx, attempt, failure, host)

    def release_task(self, task_id: int) -> int | None:
        """Queue a failed task again, with its labels, as if it had never been tried.

        A campaign that failed goes on; one that ended well runs the task if its limits are
        raised. A training is not repeated as it was: its generation is planned anew, with the
        settings and the labels that there are then.

        Returns:
            Number of the generation that is planned anew; None if the task is queued.

        Raises:
            StoreError: If there is no such task, or it has not failed.
        """
        with self._write("release-task") as tx:
            return faults.release(tx, task_id)

    def reconsider_generation(self, number: int) -> str:
        """Take back what the newest generation has from labels that are not trusted any more.

        Returns:
            The phase that its iteration is back in: `label` if it is trained again, `train` if it
            is only tested again; empty if nothing had to be taken back.
        """
        with self._write("reconsider-generation") as tx:
            return generations.reconsider(tx, number)

    def withdraw_failed_trainings(self) -> list[int]:
        """Plan generations anew whose training failed; their numbers."""
        with self.read() as connection:
            failed = faults.failed_trainings(connection)
        found = [self.release_task(task_id) for task_id in failed]
        return [number for number in found if number is not None]

    def faults(self, task_id: int) -> tuple[Fault, ...]:
        """Failed attempts of a task since it was last released, the oldest first."""
        with self.read() as connection:
            return faults.history(connection, task_id)

    def excluded_hosts(self) -> tuple[ExcludedHost, ...]:
        """Hosts on which several tasks failed in a row, by name."""
        with self.read() as connection:
            return faults.excluded_hosts(connection, utc_now())

    def add_structures(
        self,
        items: Sequence[NewStructure],
        publish: Sequence[NewTask] = (),
        *,
        iteration: int,
        phase: str = publishing.LABEL,
    ) -> list[int]:
        """Add structures, publish tasks about them, move the iteration on; return their ids.

        A structure that is known already keeps its id, its group and its split.
        """
        with self._write("add-structures") as tx:
            ids = structures.add(tx, items, iteration)
            publishing.publish(tx, publish)
            tx.set_phase(iteration, phase)
            return ids

    def structures(self, hashes: Sequence[str]) -> list[Structure]:
        """The structures with these hashes, in the order asked for."""
        with self.read() as connection:
            return structures.load(connection, hashes)

    def requested(self, hashes: Sequence[str], level: str | None = None) -> frozenset[str]:
        """Those of the structures for which a label has been asked, at a level or at any."""
        with self.read() as connection:
            return labels.requested(connection, hashes, level)

    def structure_ids(self, hashes: Sequence[str]) -> dict[str, int]:
        """Ids of those of the structures that are stored, by hash."""
        with self.read() as connection:
            return publishing.structure_ids(connection, hashes)

    def level_of(self, generation: int) -> str:
        """Name of the level of theory that a generation was trained on."""
        with self.read() as connection:
            return generations.level_of(connection, generation)

    def register_level(self, name: str, settings: Mapping[str, Any]) -> int:
        """The id of a level of theory; `CampaignChanged` if it is known with other settings."""
        with self._write("register-level") as tx:
            return labels.register_level(tx, name, settings)

    def commit_items(
        self,
        attempt: AttemptRef,
        results: Mapping[str, Label | Failure],
        program_version: str,
    ) -> int:
        """Write results of a label task by structure hash; return how many were new.

        Results of items that are not pending are ignored. A label that is malformed or not finite
        is written as a failure.
        """
        with self._write("commit-items") as tx:
            return labels.commit(tx, attempt, results, program_version)

    def import_labelled(
        self, source: ImportSource, level: str, items: Sequence[NewLabelled]
    ) -> ImportResult:
        """Write labelled structures that come from a file; doing it twice is doing it once.

        A label that contradicts a stored one is left out and reported.
        """
        with bulk.collector_paused(), self._write("import-labelled") as tx:
            return importing.import_labelled(tx, source, level, items)

    def set_quality(self, labels: Sequence[int], quality: Quality, reason: str) -> int:
        """Say how far labels are trusted, only `ok` is trained on; how many that changes."""
        with self._write("set-quality") as tx:
            return curation.set_quality(tx, labels, quality, reason)

    def supersede_label(self, number: int, new: Label, program: str, reason: str) -> int:
        """Put another label in the place of a current one, which stays; the new one's id."""
        with self._write("supersede-label") as tx:
            return curation.supersede(tx, number, new, program, reason)

    def labelled(
        self,
        split: str | None,
        lot: str,
        *,
        generation: int | None = None,
        iteration: int | None = None,
    ) -> list[LabelledStructure]:
        """Labelled structures at one level, ordered by label id.

        Args:
            split: train, val, test, or None for all.
            lot: Name of the level of theory.
            generation: Only what this generation was trained on; else all accepted labels.
            iteration: Only labels that were asked for in this iteration.
        """
        with self.read() as connection:
            which = labels.Which(split, lot, generation, iteration)
            return labels.labelled(connection, which)

    def dataset(
        self,
        split: str | None,
        lot: str,
        *,
        generation: int | None = None,
        iteration: int | None = None,
    ) -> Dataset:
        """The same as `labelled`, as flat arrays and many times as fast; without label extras."""
        with self.read() as connection:
            which = labels.Which(split, lot, generation, iteration)
            return datasets.load(connection, which)

    def batch(self, label_ids: Sequence[int]) -> Dataset:
        """The labels with these numbers and their structures, in the order asked for."""
        with self.read() as connection:
            return datasets.load_batch(connection, label_ids)

    def begin_iteration(
        self,
        number: int,
        phase: str,
        tasks: Sequence[NewTask] = (),
        *,
        generation: int | None = None,
    ) -> bool:
        """Begin an iteration with its first tasks; False if it has begun already.

        `generation` is the number of the one that looks for frames in it, if any does.
        """
        with self._write("begin-iteration") as tx:
            return selection.begin_iteration(tx, number, phase, tasks, generation)

    def end_iteration(
        self,
        number: int,
        stats: Mapping[str, Number | None],
        gate: GateVerdict | None = None,
    ) -> bool:
        """Close an iteration with its statistics; False if it is closed already.

        A statistic that is missing or not finite is left out. `gate` says what becomes of the
        generation that it trained.
        """
        with self._write("end-iteration") as tx:
            return selection.end_iteration(tx, number, stats, gate)

    def record_selection(
        self,
        iteration: int,
        generation: int,
        trajectories: Sequence[TrajectoryRow],
        verdicts: Selection,
        tasks: Sequence[NewTask],
    ) -> bool:
        """Write what sampling found and what acquisition decided, and publish label tasks.

        Every frame needs a verdict under the hash of its structure.

        Returns:
            False if the iteration has been decided about already.
        """
        place = (iteration, generation)
        with self._write("record-selection") as tx:
            return selection.record(tx, place, trajectories, verdicts, tasks)

    def begin_generation(  # noqa: PLR0913
        self,
        iteration: int,
        generation: int,
        lot: str,
        arch: Mapping[str, Any],
        tasks: TasksOfSnapshot,
        *,
        parent: int | None = None,
        relation: str | None = None,
        held_out: Sequence[str] = (),
        phase: str = generations.TRAIN,
    ) -> bool:
        """Close a snapshot of all accepted labels and publish training on it.

        Args:
            iteration: Iteration that trains the generation.
            generation: Its number, also that of its snapshot.
            lot: Level of theory of the labels.
            arch: What the model is made of (JSON-like).
            tasks: Its tasks, or a function from the closed snapshot to them.
            parent: Generation whose weights it starts from, if any.
            relation: How it comes from other weights; by default `warm_start` or `fresh`.
            held_out: Hashes of structures whose labels are in the snapshot to test on.
            phase: Phase that the iteration moves to.

        Returns:
            False if the generation exists already.
        """
        new = generations.NewGeneration(
            generation, iteration, lot, arch, parent, relation, held_out, phase
        )
        with self._write("begin-generation") as tx:
            return generations.begin(tx, new, tasks)

    def finish_training(
        self,
        attempt: AttemptRef,
        outcome: Outcome,
        weights: bytes,
        members: Sequence[Mapping[str, Any]],
        epochs: Sequence[Mapping[str, Any]],
    ) -> bool:
        """End a train task: weights, members, metrics; the generation is ready.

        Returns:
            False if the result is late and dropped.
        """
        content = blobs.prepare(self.database.path, weights, "application/safetensors")
        trained = generations.Trained(content, members, epochs)
        with self._write("finish-training") as tx:
            return generations.finish_training(tx, attempt, outcome, trained)

    def add_predictions(
        self,
        attempt: AttemptRef,
        outcome: Outcome,
        generation: int,
        rows: Sequence[PredictionRow],
        about: str | None = None,
    ) -> bool:
        """End a validate task with what a generation says about labelled structures.

        Numbers among the outcome's values become metrics of the generation, under the name
        `about`; by default `test` or `new` by the split of the labels.

        Returns:
            False if the result is late and dropped.
        """
        with self._write("add-predictions") as tx:
            return generations.add_predictions(
                tx, attempt, outcome, generation, rows, about
            )

    def add_properties(
        self, attempt: AttemptRef, outcome: Outcome, found: Sequence[Property]
    ) -> bool:
        """End a property task with what its suite found.

        Returns:
            False if the result is late and dropped.
        """
        with self._write("add-properties") as tx:
            return properties.add(tx, attempt, outcome, found)

    def weights(self, generation: int) -> bytes:
        """Weights of a generation, their checksum verified."""
        with self.read() as connection:
            sha = generations.weights_sha(connection, generation)
            return blobs.read(connection, self.database.path, sha)

    def weights_sha(self, generation: int) -> str:
        """SHA-256 of the weights of a generation."""
        with self.read() as connection:
            return generations.weights_sha(connection, generation)

    def blob(self, sha256: str) -> bytes:
        """Content by its checksum, which is verified: the weights of some generation."""
        with self.read() as connection:
            return blobs.read(connection, self.database.path, sha256)

    def content_digest(self) -> str:
        """One checksum over what the campaign has found out, blind to how and when."""
        with self.read() as connection:
            return digest.content_digest(connection)
