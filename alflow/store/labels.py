"""Levels of theory, results of label tasks, and labelled structures."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from alflow.core.batches import LabelledStructure
from alflow.core.canonical import sha256_hex
from alflow.core.errors import CampaignChanged, StoreError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.tasks import AttemptRef
from alflow.store.codec import (
    AnyRow,
    MalformedLabel,
    chunks,
    json_text,
    label_from,
    label_values,
    lossy_json_text,
    structure_from,
)
from alflow.store.database import next_id
from alflow.store.rows import AttemptState, ItemState, Quality, Severity
from alflow.store.schema import (
    attempt,
    campaign_structure,
    ensemble,
    iteration,
    label,
    label_item,
    level_of_theory,
    snapshot,
    snapshot_interval,
    structure,
    task,
)
from alflow.store.structures import COLUMNS
from alflow.store.transaction import Transaction

_LABELLED = (
    *COLUMNS,
    label.c.id.label("label_id"),
    label.c.energy,
    label.c.forces,
    label.c.stress,
    label.c.extras_json,
    campaign_structure.c.group_key,
    campaign_structure.c.source,
)
"""What `_labelled` needs."""


def register_level(tx: Transaction, name: str, settings: Mapping[str, Any]) -> int:
    """The id of a level of theory, new or known with the same settings."""
    text = json_text(dict(settings))
    sha = sha256_hex(text.encode())
    condition = (level_of_theory.c.name == name) | (level_of_theory.c.spec_hash == sha)
    known = tx.connection.execute(select(level_of_theory).where(condition)).all()
    for row in known:
        if row.name == name and row.spec_hash == sha:
            return int(row.id)
    for row in known:
        if row.name == name:
            raise CampaignChanged(
                f"level of theory {name!r} is stored with other settings",
                consequence="Labels of two levels would be mixed.",
                next_step="give the changed level a new name, or start a new campaign",
            )
        raise StoreError(f"level of theory {name!r} is the same as {row.name!r}")
    level = next_id(tx.connection, level_of_theory)
    values = {
        "id": level,
        "name": name,
        "spec_hash": sha,
        "settings_json": text,
        "program": _word(settings, "kind"),
        "method": _word(settings, "method"),
        "basis": _word(settings, "basis"),
    }
    tx.connection.execute(level_of_theory.insert(), values)
    return level


def commit(
    tx: Transaction, ref: AttemptRef, results: Mapping[str, Label | Failure], version: str
) -> int:
    """Write the results of pending items; how many were new.

    A label is taken from any attempt of the task, even one that was given up: it is the same
    number whoever computed it. A failure counts only if the attempt is still the current one.
    """
    query = select(attempt.c.id, attempt.c.state).where(
        attempt.c.task_id == ref.task_id, attempt.c.token == ref.token
    )
    source = tx.connection.execute(query).one_or_none()
    if source is None:
        tx.event(
            "late-result", f"t-{ref.task_id}", {"attempt": ref.number}, Severity.WARNING
        )
        return 0
    n_new = 0
    for item in _pending(tx, ref.task_id):
        result = results.get(item.hash)
        if isinstance(result, Label):
            n_new += _commit_label(tx, item, result, source.id, version)
        elif result is not None and source.state == AttemptState.OPEN:
            n_new += _commit_failure(tx, item, result)
    return n_new


def requested(connection: Connection, hashes: Sequence[str]) -> frozenset[str]:
    """Those of the structures that have a label item."""
    found: set[str] = set()
    for part in chunks(list(hashes)):
        query = (
            select(structure.c.hash)
            .join(label_item, label_item.c.structure_id == structure.c.id)
            .where(structure.c.hash.in_(part))
        )
        found.update(connection.scalars(query))
    return frozenset(found)


def labelled(
    connection: Connection,
    split: str | None,
    lot: str,
    generation: int | None = None,
    number: int | None = None,
) -> list[LabelledStructure]:
    """Accepted labels of one level with their structures, ordered by label id."""
    joined = (
        label.join(structure, structure.c.id == label.c.structure_id)
        .join(campaign_structure, campaign_structure.c.structure_id == structure.c.id)
        .join(level_of_theory, level_of_theory.c.id == label.c.lot_id)
    )
    conditions = [level_of_theory.c.name == lot]
    if split is not None:
        conditions.append(campaign_structure.c.split == split)
    if generation is None:
        conditions += [label.c.quality == Quality.OK, label.c.superseded_by.is_(None)]
    else:
        seq = _snapshot_seq(connection, generation)
        joined = joined.join(snapshot_interval, snapshot_interval.c.label_id == label.c.id)
        later = snapshot_interval.c.to_seq
        conditions += [snapshot_interval.c.from_seq <= seq, later.is_(None) | (later > seq)]
    if number is not None:
        joined = (
            joined.join(label_item, label_item.c.id == label.c.id)
            .join(task, task.c.id == label_item.c.task_id)
            .join(iteration, iteration.c.id == task.c.iteration_id)
        )
        conditions.append(iteration.c.number == number)
    query = select(*_LABELLED).select_from(joined).where(*conditions)
    return [_labelled(row) for row in connection.execute(query.order_by(label.c.id))]


def _snapshot_seq(connection: Connection, generation: int) -> int:
    query = (
        select(snapshot.c.seq)
        .join(ensemble, ensemble.c.snapshot_id == snapshot.c.id)
        .where(ensemble.c.generation == generation)
    )
    seq: int | None = connection.scalar(query)
    if seq is None:
        raise StoreError(f"there is no generation g{generation}")
    return seq


def _labelled(row: AnyRow) -> LabelledStructure:
    return LabelledStructure(
        structure_from(row), label_from(row), row.label_id, row.group_key, row.source
    )


def _pending(tx: Transaction, task_id: int) -> list[AnyRow]:
    query = (
        select(
            label_item.c.id,
            label_item.c.lot_id,
            label_item.c.rev,
            label_item.c.structure_id,
            structure.c.hash,
            structure.c.n_atoms,
        )
        .join(structure, structure.c.id == label_item.c.structure_id)
        .where(label_item.c.task_id == task_id, label_item.c.state == ItemState.PENDING)
        .order_by(label_item.c.id)
    )
    return list(tx.connection.execute(query))


def _commit_label(
    tx: Transaction, item: AnyRow, result: Label, attempt_id: int, version: str
) -> int:
    try:
        content = label_values(result, item.n_atoms)
    except MalformedLabel as error:
        message = f"the label program returned {error}"
        return _commit_failure(tx, item, Failure(FailureKind.SUSPICIOUS, message))
    values = {
        "id": item.id,
        "structure_id": item.structure_id,
        "lot_id": item.lot_id,
        "rev": item.rev,
        "quality": Quality.OK,
        "attempt_id": attempt_id,
        "program_version": version,
        "created": tx.now,
    }
    tx.connection.execute(label.insert(), {**values, **content})
    _update_item(tx, item.id, {"state": ItemState.OK})
    return 1


def _commit_failure(tx: Transaction, item: AnyRow, failure: Failure) -> int:
    values = {
        "state": ItemState.FAILED,
        "failure_kind": failure.kind,
        "message": failure.message,
        "details_json": lossy_json_text(dict(failure.details)),
    }
    _update_item(tx, item.id, values)
    return 1


def _update_item(tx: Transaction, item_id: int, values: Mapping[str, Any]) -> None:
    tx.connection.execute(
        label_item.update().where(label_item.c.id == item_id), dict(values)
    )


def _word(settings: Mapping[str, Any], name: str) -> str | None:
    value = settings.get(name)
    return None if value is None else str(value)
