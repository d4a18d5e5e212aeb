"""Generations: begin one on a snapshot, take in its weights, take in its predictions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from alflow.core.canonical import digest_of
from alflow.core.errors import StoreError
from alflow.core.failpoints import failpoint
from alflow.core.tasks import AttemptRef, Outcome, TaskState
from alflow.store import counting, publishing, snapshots, work
from alflow.store.codec import array_bytes, finite_or_none, json_text
from alflow.store.database import insert_new, next_id
from alflow.store.publishing import level_id, publish
from alflow.store.rows import (
    EnsembleState,
    GateVerdict,
    NewTask,
    PredictionRow,
    Quality,
    Severity,
    Snapshot,
    Split,
)
from alflow.store.schema import (
    blob,
    campaign_structure,
    ensemble,
    ensemble_metric,
    iteration,
    label,
    level_of_theory,
    metric,
    metric_epoch,
    model,
    prediction,
    snapshot,
    task,
)
from alflow.store.transaction import Transaction

TRAIN = "train"
"""The kind of task that makes a generation."""

VALIDATE = "validate"
"""The kind of task that lets a generation predict."""

TasksOfSnapshot = Sequence[NewTask] | Callable[[Snapshot], Sequence[NewTask]]
"""Tasks of a new generation, or what makes them when the snapshot is closed."""


@dataclass(frozen=True, slots=True)
class NewGeneration:
    """A generation to begin.

    Attributes:
        number: Its number, also that of its snapshot.
        iteration: Number of the iteration that trains it.
        lot: Name of the level of theory of its labels.
        arch: What the model is made of (JSON-like).
        parent: Number of the generation whose weights it starts from, or None.
        relation: What it has from its parent or from other weights, as the schema names it; by
            default `warm_start` with a parent and `fresh` without.
        held_out: Hashes of structures whose labels are to test on.
        phase: Phase that the iteration moves to.
    """

    number: int
    iteration: int
    lot: str
    arch: Mapping[str, Any]
    parent: int | None = None
    relation: str | None = None
    held_out: Sequence[str] = ()
    phase: str = TRAIN


@dataclass(frozen=True, slots=True)
class Trained:
    """What training brings back.

    Attributes:
        weights: Column values of the blob with the weights of all members.
        members: For each member its seed, best_epoch and metrics.
        epochs: For each epoch the metrics by name.
    """

    weights: Mapping[str, Any]
    members: Sequence[Mapping[str, Any]]
    epochs: Sequence[Mapping[str, Any]]


def begin(tx: Transaction, new: NewGeneration, tasks: TasksOfSnapshot) -> bool:
    """Close the snapshot, insert the ensemble, publish its tasks; False if it exists."""
    if _find(tx.connection, new.number) is not None:
        return False
    snapshot_id, digest, counts = snapshots.close(tx, new.number, new.lot, new.held_out)
    arch_json = json_text(dict(new.arch))
    ensemble_id = next_id(tx.connection, ensemble)
    parent_id = None if new.parent is None else ensemble_of(tx.connection, new.parent)
    values = {
        "id": ensemble_id,
        "campaign_id": tx.campaign_id,
        "generation": new.number,
        "iteration": new.iteration,
        "role": "committee",
        "snapshot_id": snapshot_id,
        "lot_id": level_id(tx.connection, new.lot),
        "parent_id": parent_id,
        "relation": new.relation or ("fresh" if new.parent is None else "warm_start"),
        "arch_json": arch_json,
        "arch_sha": digest_of(dict(new.arch)),
        "state": EnsembleState.PLANNED,
        "created": tx.now,
    }
    tx.connection.execute(ensemble.insert(), values)
    failpoint("store.begin-generation.inside")
    if callable(tasks):
        tasks = tasks(snapshots.load(tx, new.number, new.lot, new.number))
    publish(tx, tasks)
    keys = [one.spec.key for one in tasks if one.spec.kind == TRAIN]
    tx.connection.execute(
        task.update().where(task.c.key.in_(keys)).values(ensemble_id=ensemble_id)
    )
    tx.set_phase(new.iteration, new.phase)
    data = {"digest": digest, "n_train": counts[Split.TRAIN], "n_val": counts[Split.VAL]}
    tx.event("generation-planned", f"g{new.number}", data)
    return True


def withdraw(tx: Transaction, task_id: int) -> int:
    """Take back a generation whose training failed, with its snapshot: it is planned anew.

    The task stays, cancelled and under another key, so that what its attempts said is kept.

    Args:
        tx: The transaction.
        task_id: Number of the train task, which has failed.

    Returns:
        Number of the generation.
    """
    row = tx.connection.execute(
        select(
            ensemble.c.id,
            ensemble.c.generation,
            ensemble.c.iteration,
            ensemble.c.snapshot_id,
            snapshot.c.seq,
            task.c.key,
        )
        .join(ensemble, ensemble.c.id == task.c.ensemble_id)
        .join(snapshot, snapshot.c.id == ensemble.c.snapshot_id)
        .where(task.c.id == task_id)
    ).one()
    _cancel(tx, task_id, row.key, TaskState.FAILED)
    tx.connection.execute(ensemble.delete().where(ensemble.c.id == row.id))
    snapshots.reopen(tx, row.snapshot_id, row.seq)
    before = {TRAIN: "label", "transfer": "relabel"}
    phase: str = tx.connection.execute(
        select(iteration.c.phase).where(
            iteration.c.campaign_id == tx.campaign_id, iteration.c.number == row.iteration
        )
    ).scalar_one()
    tx.set_phase(row.iteration, before.get(phase, phase))
    tx.event("generation-withdrawn", f"g{row.generation}", {"task": task_id})
    generation: int = row.generation
    return generation


def reconsider(tx: Transaction, number: int) -> str:
    """Take back what the newest generation has from labels that are not trusted any more.

    Was it trained on any, it is withdrawn with its weights and all that it predicted; was it only
    tested on some, its test is. The tasks stay, cancelled and under other keys.

    Args:
        tx: The transaction.
        number: Number of the generation, whose iteration has no open tasks.

    Returns:
        The phase that its iteration is back in; empty if nothing had to be taken back.
    """
    n_trained = snapshots.put_aside(tx.connection)[number]
    ensemble_id = ensemble_of(tx.connection, number)
    untrusted = select(label.c.id).where(label.c.quality != Quality.OK)
    n_tested = tx.connection.scalar(
        select(func.count())
        .select_from(prediction)
        .where(
            prediction.c.ensemble_id == ensemble_id, prediction.c.label_id.in_(untrusted)
        )
    )
    if not n_trained and not n_tested:
        return ""
    row = tx.connection.execute(
        select(ensemble.c.iteration, ensemble.c.snapshot_id, snapshot.c.seq)
        .join(snapshot, snapshot.c.id == ensemble.c.snapshot_id)
        .where(ensemble.c.id == ensemble_id)
    ).one()
    kinds = (TRAIN, VALIDATE) if n_trained else (VALIDATE,)
    done = (
        select(task.c.id, task.c.key)
        .where(
            task.c.iteration_id == tx.iteration_id(row.iteration),
            task.c.kind.in_(kinds),
            task.c.state == TaskState.DONE,
        )
        .order_by(task.c.id)
    )
    for one in tx.connection.execute(done).all():
        if n_trained or one.key.endswith(f"/{Split.TEST}"):
            _cancel(tx, one.id, one.key, TaskState.DONE)
    failpoint("store.reconsider-generation.inside")
    _forget(tx, ensemble_id, with_weights=bool(n_trained))
    if n_trained:
        snapshots.reopen(tx, row.snapshot_id, row.seq)
    phase = publishing.LABEL if n_trained else TRAIN
    tx.set_phase(row.iteration, phase)
    data = {"trained_on": n_trained, "tested_on": n_tested}
    tx.event("generation-withdrawn", f"g{number}", data, Severity.WARNING)
    return phase


def _cancel(tx: Transaction, task_id: int, key: str, before: TaskState) -> None:
    """A task whose result does not count any more; its key is free for another one."""
    tx.connection.execute(
        task.update().where(task.c.id == task_id),
        {
            "state": TaskState.CANCELLED,
            "key": f"{key}/withdrawn-{task_id}",
            "ensemble_id": None,
        },
    )
    counting.move_task(tx, task_id, before, TaskState.CANCELLED)


def _forget(tx: Transaction, ensemble_id: int, *, with_weights: bool) -> None:
    """Delete what an ensemble predicted, or all there is of it."""
    tests = ensemble_metric.c.split == Split.TEST
    for table in (prediction, ensemble_metric):
        condition = table.c.ensemble_id == ensemble_id
        is_all = with_weights or table is prediction
        tx.connection.execute(
            table.delete().where(condition if is_all else condition & tests)
        )
    if not with_weights:
        return
    members = select(model.c.id).where(model.c.ensemble_id == ensemble_id)
    tx.connection.execute(metric.delete().where(metric.c.model_id.in_(members)))
    for table in (metric_epoch, model):
        tx.connection.execute(table.delete().where(table.c.ensemble_id == ensemble_id))
    tx.connection.execute(ensemble.delete().where(ensemble.c.id == ensemble_id))


def finish_training(
    tx: Transaction, ref: AttemptRef, outcome: Outcome, trained: Trained
) -> bool:
    """Take in the weights and metrics of a generation; False if the result is late."""
    # Members and epochs get rows of their own; kept twice they would bloat the task.
    small = {k: v for k, v in outcome.values.items() if k not in ("members", "epochs")}
    slim = Outcome(
        small, outcome.outputs, outcome.failure, outcome.wall_s, outcome.environment
    )
    if not work.finish(tx, ref, slim):
        return False
    ensemble_id = tx.connection.scalar(
        select(task.c.ensemble_id).where(task.c.id == ref.task_id)
    )
    if ensemble_id is None:
        raise StoreError(f"task t-{ref.task_id} does not train a generation")
    tx.connection.execute(insert_new(tx.connection, blob), dict(trained.weights))
    failpoint("store.finish-training.inside")
    values = {
        "state": EnsembleState.READY,
        "weights_sha": trained.weights["sha256"],
        "trained": tx.now,
    }
    tx.connection.execute(ensemble.update().where(ensemble.c.id == ensemble_id), values)
    for place, one in enumerate(trained.members):
        # Members that could not be trained are missing; the others keep their numbers.
        _add_member(tx, ensemble_id, int(one.get("member", place)), one)
    _add_epochs(tx, ensemble_id, trained.epochs)
    generation = tx.connection.scalar(
        select(ensemble.c.generation).where(ensemble.c.id == ensemble_id)
    )
    tx.event("generation-ready", f"g{generation}", {"members": len(trained.members)})
    return True


def add_predictions(
    tx: Transaction,
    ref: AttemptRef,
    outcome: Outcome,
    generation: int,
    rows: Sequence[PredictionRow],
    about: str | None,
) -> bool:
    """Take in what a generation says about labels; False if the result is late."""
    if not work.finish(tx, ref, outcome):
        return False
    ensemble_id = ensemble_of(tx.connection, generation)
    if not rows:
        return True
    tx.connection.execute(
        insert_new(tx.connection, prediction),
        [_prediction(ensemble_id, row) for row in rows],
    )
    named = _numbers(outcome.values)
    _set_metrics(tx, ensemble_id, about or _kind_of(tx, rows[0].label_id), named)
    return True


def _kind_of(tx: Transaction, label_id: int) -> str:
    """What predictions are about that begin with this label."""
    split = tx.connection.scalar(
        select(campaign_structure.c.split)
        .join(label, label.c.structure_id == campaign_structure.c.structure_id)
        .where(label.c.id == label_id)
    )
    return "test" if split == Split.TEST else "new"


def level_of(connection: Connection, generation: int) -> str:
    """Name of the level of theory of a generation.

    Raises:
        StoreError: If there is no such generation.
    """
    query = (
        select(level_of_theory.c.name)
        .join(ensemble, ensemble.c.lot_id == level_of_theory.c.id)
        .where(ensemble.c.id == ensemble_of(connection, generation))
    )
    return str(connection.execute(query).scalar_one())


def _set_metrics(
    tx: Transaction, ensemble_id: int, split: str, named: Mapping[str, float | None]
) -> None:
    """Write numbers about an ensemble, in place of earlier ones: it may be asked again."""
    known = ensemble_metric.c
    tx.connection.execute(
        ensemble_metric.delete().where(
            known.ensemble_id == ensemble_id, known.split == split
        )
    )
    rows = [
        {"ensemble_id": ensemble_id, "split": split, "name": name, "value": value}
        for name, value in named.items()
    ]
    if rows:
        tx.connection.execute(ensemble_metric.insert(), rows)


def judge(tx: Transaction, verdict: GateVerdict) -> None:
    """Write whether a generation takes the place of the one before it."""
    if verdict.is_refused:
        ensemble_id = ensemble_of(tx.connection, verdict.generation)
        tx.connection.execute(
            ensemble.update().where(ensemble.c.id == ensemble_id),
            {"state": EnsembleState.REJECTED},
        )
    tx.event(
        "generation-refused" if verdict.is_refused else "generation-accepted",
        f"g{verdict.generation}",
        {"message": verdict.message},
        Severity.WARNING if verdict.is_refused else Severity.INFO,
    )


def ensemble_of(connection: Connection, generation: int) -> int:
    """The id of a generation's ensemble.

    Raises:
        StoreError: If there is none.
    """
    found = _find(connection, generation)
    if found is None:
        raise StoreError(
            f"there is no generation g{generation}",
            next_step="those that there are: alflow ls generations",
        )
    return found


def weights_sha(connection: Connection, generation: int) -> str:
    """The checksum of a generation's weights.

    Raises:
        StoreError: If it has none.
    """
    ensemble_id = ensemble_of(connection, generation)
    sha: str | None = connection.scalar(
        select(ensemble.c.weights_sha).where(ensemble.c.id == ensemble_id)
    )
    if sha is None:
        raise StoreError(f"generation g{generation} is not trained yet")
    return sha


def _find(connection: Connection, generation: int) -> int | None:
    found: int | None = connection.scalar(
        select(ensemble.c.id).where(
            ensemble.c.generation == generation, ensemble.c.role == "committee"
        )
    )
    return found


def _add_member(
    tx: Transaction, ensemble_id: int, number: int, one: Mapping[str, Any]
) -> None:
    model_id = next_id(tx.connection, model)
    values = {
        "id": model_id,
        "ensemble_id": ensemble_id,
        "member": number,
        "seed": one.get("seed"),
        "fold": one.get("fold"),
        "best_epoch": one.get("best_epoch"),
        "state": EnsembleState.READY,
    }
    tx.connection.execute(model.insert(), values)
    apart = ("member", "seed", "fold", "best_epoch")
    named = _numbers({name: value for name, value in one.items() if name not in apart})
    rows = [
        {"model_id": model_id, "split": Split.VAL, "name": name, "value": value}
        for name, value in named.items()
    ]
    if rows:
        tx.connection.execute(metric.insert(), rows)


def _add_epochs(
    tx: Transaction, ensemble_id: int, epochs: Sequence[Mapping[str, Any]]
) -> None:
    rows = []
    for place, one in enumerate(epochs):
        number = int(one.get("epoch", place))
        named = _numbers({name: value for name, value in one.items() if name != "epoch"})
        rows += [
            {"ensemble_id": ensemble_id, "epoch": number, "name": name, "value": value}
            for name, value in named.items()
        ]
    if rows:
        tx.connection.execute(metric_epoch.insert(), rows)


def _numbers(values: Mapping[str, Any]) -> dict[str, float | None]:
    """Numbers by name, those in `metrics` included; None where not finite."""
    nested = values.get("metrics")
    flat = {**values, **(nested if isinstance(nested, Mapping) else {})}
    return {
        name: finite_or_none(float(value))
        for name, value in flat.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _prediction(ensemble_id: int, row: PredictionRow) -> dict[str, Any]:
    return {
        "ensemble_id": ensemble_id,
        "label_id": row.label_id,
        "energy": finite_or_none(row.energy),
        "energy_spread": finite_or_none(row.energy_spread),
        "force_rmse": finite_or_none(row.force_rmse),
        "force_spread_mean": finite_or_none(row.force_spread_mean),
        "force_spread_max": finite_or_none(row.force_spread_max),
        "force_scale": finite_or_none(row.force_scale),
        "forces": array_bytes(row.forces),
    }
