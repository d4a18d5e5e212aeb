"""Levels of theory, results of label tasks, and labelled structures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, bindparam, select

from alflow.core.batches import LabelledStructure
from alflow.core.canonical import sha256_hex
from alflow.core.errors import CampaignChanged, StoreError
from alflow.core.failpoints import failpoint
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.tasks import AttemptRef
from alflow.store import bulk, counting
from alflow.store.codec import (
    LABEL_COLUMNS,
    AnyRow,
    MalformedLabel,
    chunks,
    json_text,
    label_from,
    label_rows,
    lossy_json_text,
    structure_from,
)
from alflow.store.database import next_id
from alflow.store.publishing import level_id
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

_CONTENT = ("id", "structure_id", "lot_id", "rev", *LABEL_COLUMNS)
"""Columns of a label, but for where it comes from."""

JOINED = label.join(structure, structure.c.id == label.c.structure_id).join(
    campaign_structure, campaign_structure.c.structure_id == structure.c.id
)
"""Labels with their structures and the place of those in the campaign."""


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
    items = _pending(tx, ref.task_id)
    outcomes = [(item, results.get(item.hash)) for item in items]
    good, bad = _sorted_out(outcomes, is_open=source.state == AttemptState.OPEN)
    _write_labels(tx, good, source.id, version)
    _write_failures(tx, bad)
    states = dict.fromkeys((row[0] for row in good), ItemState.OK)
    states |= dict.fromkeys((item_id for item_id, _ in bad), ItemState.FAILED)
    _count(tx, items, states)
    return len(good) + len(bad)


def requested(
    connection: Connection, hashes: Sequence[str], level: str | None = None
) -> frozenset[str]:
    """Those of the structures that have a label item, at a level or at any."""
    found: set[str] = set()
    for part in chunks(list(hashes)):
        query = (
            select(structure.c.hash)
            .join(label_item, label_item.c.structure_id == structure.c.id)
            .where(structure.c.hash.in_(part))
        )
        if level is not None:
            query = query.where(label_item.c.lot_id == level_id(connection, level))
        found.update(connection.scalars(query))
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Which:
    """Which labels are meant.

    Attributes:
        split: train, val, test, or None for all.
        lot: Name of the level of theory.
        generation: Only what this generation was trained on; None: all accepted labels.
        iteration: Only labels that were asked for in this iteration.
    """

    split: str | None
    lot: str
    generation: int | None = None
    iteration: int | None = None


def labelled(connection: Connection, which: Which) -> list[LabelledStructure]:
    """Labels of one level with their structures, ordered by label id."""
    return [
        _labelled(row) for row in connection.execute(selected(connection, _LABELLED, which))
    ]


def selected(
    connection: Connection, columns: Sequence[ColumnElement[Any]], which: Which
) -> Select[Any]:
    """Columns of labels, structures and their place in the campaign, ordered by label id."""
    joined = JOINED.join(level_of_theory, level_of_theory.c.id == label.c.lot_id)
    conditions = [level_of_theory.c.name == which.lot]
    role: ColumnElement[Any] = campaign_structure.c.split
    if which.generation is not None:
        role = snapshot_interval.c.role
    if which.split is not None:
        conditions.append(role == which.split)
    if which.generation is None:
        conditions += [label.c.quality == Quality.OK, label.c.superseded_by.is_(None)]
    else:
        seq = _snapshot_seq(connection, which.generation)
        joined = joined.join(snapshot_interval, snapshot_interval.c.label_id == label.c.id)
        later = snapshot_interval.c.to_seq
        conditions += [snapshot_interval.c.from_seq <= seq, later.is_(None) | (later > seq)]
    if which.iteration is not None:
        joined = (
            joined.join(label_item, label_item.c.id == label.c.id)
            .join(task, task.c.id == label_item.c.task_id)
            .join(iteration, iteration.c.id == task.c.iteration_id)
        )
        conditions.append(iteration.c.number == which.iteration)
    return select(*columns).select_from(joined).where(*conditions).order_by(label.c.id)


def _snapshot_seq(connection: Connection, generation: int) -> int:
    query = (
        select(snapshot.c.seq)
        .join(ensemble, ensemble.c.snapshot_id == snapshot.c.id)
        .where(ensemble.c.generation == generation)
    )
    seq: int | None = connection.scalar(query)
    if seq is None:
        raise StoreError(
            f"there is no generation g{generation}",
            next_step="those that there are: alflow ls generations",
        )
    return seq


def _labelled(row: AnyRow) -> LabelledStructure:
    return LabelledStructure(
        structure_from(row), label_from(row), row.label_id, row.group_key, row.source
    )


class _Item(NamedTuple):
    """A label that was asked for and has not come."""

    id: int
    lot_id: int
    rev: int
    structure_id: int
    hash: str
    n_atoms: int
    iteration_id: int
    split: str | None


def _pending(tx: Transaction, task_id: int) -> list[_Item]:
    query = (
        select(
            label_item.c.id,
            label_item.c.lot_id,
            label_item.c.rev,
            label_item.c.structure_id,
            structure.c.hash,
            structure.c.n_atoms,
            task.c.iteration_id,
            campaign_structure.c.split,
        )
        .join(structure, structure.c.id == label_item.c.structure_id)
        .join(task, task.c.id == label_item.c.task_id)
        .outerjoin(campaign_structure, campaign_structure.c.structure_id == structure.c.id)
        .where(label_item.c.task_id == task_id, label_item.c.state == ItemState.PENDING)
        .order_by(label_item.c.id)
    )
    return [_Item(*row) for row in tx.connection.execute(query)]


def _count(
    tx: Transaction, items: Sequence[_Item], states: Mapping[int, ItemState]
) -> None:
    counted = Counter(
        (item.iteration_id, item.lot_id, item.split, states[item.id])
        for item in items
        if item.id in states and item.split is not None
    )
    for (iteration_id, lot_id, split, state), n in counted.items():
        counting.move_labels(tx, (iteration_id, lot_id), {(split, state): n})


def _sorted_out(
    outcomes: Sequence[tuple[_Item, Label | Failure | None]], *, is_open: bool
) -> tuple[list[tuple[Any, ...]], list[tuple[int, Failure]]]:
    """Values of `_CONTENT` of the labels, and what failed, malformed labels included."""
    failures = [(item.id, one) for item, one in outcomes if isinstance(one, Failure)]
    good, bad = [], failures if is_open else []
    found = [(item, one) for item, one in outcomes if isinstance(one, Label)]
    rows = label_rows([(one, item.n_atoms) for item, one in found])
    for (item, _), row in zip(found, rows, strict=True):
        if isinstance(row, MalformedLabel):
            message = f"the label program returned {row}"
            bad.append((item.id, Failure(FailureKind.SUSPICIOUS, message)))
        else:
            good.append((item.id, item.structure_id, item.lot_id, item.rev, *row))
    return good, bad


def _write_labels(
    tx: Transaction, rows: Sequence[tuple[Any, ...]], attempt_id: int, version: str
) -> None:
    if not rows:
        return
    origin = (str(Quality.OK), attempt_id, version, tx.now)
    names = (*_CONTENT, "quality", "attempt_id", "program_version", "created")
    bulk.insert_values(tx.connection, label, names, [(*row, *origin) for row in rows])
    failpoint("store.commit-items.inside")
    for part in chunks([row[0] for row in rows]):
        are_there = label_item.update().where(label_item.c.id.in_(part))
        tx.connection.execute(are_there, {"state": ItemState.OK})


def _write_failures(tx: Transaction, failures: Sequence[tuple[int, Failure]]) -> None:
    rows = [
        {
            "item": item_id,
            "state": ItemState.FAILED,
            "failure_kind": failure.kind,
            "message": failure.message,
            "details_json": lossy_json_text(dict(failure.details)),
        }
        for item_id, failure in failures
    ]
    _update_items(tx, rows)


def _update_items(tx: Transaction, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        columns: dict[str, Any] = {
            name: bindparam(name) for name in rows[0] if name != "item"
        }
        query = label_item.update().where(label_item.c.id == bindparam("item"))
        tx.connection.execute(query.values(columns), rows)


def _word(settings: Mapping[str, Any], name: str) -> str | None:
    value = settings.get(name)
    return None if value is None else str(value)
