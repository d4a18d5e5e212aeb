"""Labelled structures from a file: all of them, or none, in one transaction.

An imported label is like one that was asked for, but has no task. What is there stays: a label
that agrees with a stored one is known, one that contradicts it is reported and left out.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, func, select

from alflow.core.errors import StoreError
from alflow.core.labels import Label
from alflow.core.structures import hashes_of
from alflow.store import bulk, counting, structures
from alflow.store.codec import (
    LABEL_COLUMNS,
    AnyRow,
    MalformedLabel,
    chunks,
    label_from,
    label_rows,
)
from alflow.store.database import next_id
from alflow.store.interchange.validation import same_label
from alflow.store.publishing import level_id, splits_of, structure_ids
from alflow.store.rows import ItemState, NewStructure, Quality, SightingKind
from alflow.store.schema import (
    iteration,
    label,
    label_item,
    level_of_theory,
    sighting,
    source_file,
    structure,
    task,
)
from alflow.store.transaction import Transaction

_WRITTEN_TOGETHER = 500
"""Items of which all rows are held in memory."""


@dataclass(frozen=True, slots=True)
class ImportSource:
    """Where labels come from.

    Attributes:
        name: Name of the file.
        sha256: SHA-256 of its content.
    """

    name: str
    sha256: str

    @property
    def program(self) -> str:
        """What stands for the program that made the labels."""
        return f"imported from {self.name}"


@dataclass(frozen=True, slots=True)
class NewLabelled:
    """A labelled structure to import.

    Attributes:
        structure: The structure, its group and its split.
        label: Its label.
        index: Place in the file, from 0.
    """

    structure: NewStructure
    label: Label
    index: int

    @property
    def hash(self) -> str:
        """Name of the structure."""
        return self.structure.structure.hash


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What became of an import.

    Attributes:
        n_structures: Structures that were new.
        n_labels: Labels that were new.
        n_known: Labels that were there already.
        n_other_split: Structures that keep the split they had, another one than asked for.
        conflicts: Places in the file of labels that contradict a stored one; left out.
    """

    n_structures: int = 0
    n_labels: int = 0
    n_known: int = 0
    n_other_split: int = 0
    conflicts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Items by what the store knows about them.

    Attributes:
        new: Items whose labels are new.
        known: Items whose labels are there.
        ids: Ids of stored structures by hash.
        waiting: Requests for labels that are new, by hash.
        splits: Splits of stored structures, by hash.
        result: The numbers.
    """

    new: list[NewLabelled]
    known: list[NewLabelled]
    ids: dict[str, int]
    waiting: dict[str, AnyRow]
    splits: dict[str, str]
    result: ImportResult


def compare(
    connection: Connection, level: str, items: Sequence[NewLabelled]
) -> ImportResult:
    """What an import of the items would do; nothing is written."""
    lot_id: int | None = connection.scalar(
        select(level_of_theory.c.id).where(level_of_theory.c.name == level)
    )
    return _sorted(connection, lot_id, items).result


def level_names(connection: Connection) -> list[str]:
    """Names of the levels of theory that are registered."""
    return list(
        connection.scalars(select(level_of_theory.c.name).order_by(level_of_theory.c.id))
    )


def typical_energies(connection: Connection, level: str) -> dict[str, float]:
    """Mean energy of the current labels of each formula at a level of theory [eV]."""
    query = (
        select(structure.c.formula, func.avg(label.c.energy))
        .join(label, label.c.structure_id == structure.c.id)
        .join(level_of_theory, level_of_theory.c.id == label.c.lot_id)
        .where(level_of_theory.c.name == level, label.c.superseded_by.is_(None))
        .group_by(structure.c.formula)
    )
    return {formula: float(energy) for formula, energy in connection.execute(query)}


def import_labelled(
    tx: Transaction, source: ImportSource, level: str, items: Sequence[NewLabelled]
) -> ImportResult:
    """Write structures and labels that are new.

    Raises:
        StoreError: If the level is not registered, or a label is malformed.
    """
    lot_id = level_id(tx.connection, level)
    found = _sorted(tx.connection, lot_id, items)
    number = _last_iteration(tx)
    for part in chunks(found.new, _WRITTEN_TOGETHER):
        here = _add_structures(tx, found.ids, part, number)
        _see(tx, source, here)
        _write_labels(tx, lot_id, found.waiting, source, here)
    # A label that is known is no news, but where else it was seen is.
    _see(tx, source, [(found.ids[item.hash], item) for item in found.known])
    _count(tx, lot_id, found)
    data = {
        "sha256": source.sha256,
        "level": level,
        "labels": found.result.n_labels,
        "known": found.result.n_known,
        "conflicts": len(found.result.conflicts),
    }
    tx.event("imported", source.name, data)
    return found.result


def _add_structures(
    tx: Transaction, ids: dict[str, int], items: Sequence[NewLabelled], number: int
) -> list[tuple[int, NewLabelled]]:
    """Make the structures part of the campaign; the items with the ids of their structures."""
    named = [(item.hash, item) for item in items]
    missing = {name: i.structure.structure for name, i in named if name not in ids}
    ids |= structures.insert(tx, missing)
    here = [(ids[name], item) for name, item in named]
    structures.add_members(tx, [(one, item.structure) for one, item in here], number)
    return here


def _file_id(tx: Transaction, source: ImportSource) -> int:
    query = select(source_file.c.id).where(source_file.c.sha256 == source.sha256)
    known: int | None = tx.connection.scalar(query)
    if known is not None:
        return known
    new = next_id(tx.connection, source_file)
    values = {"id": new, "sha256": source.sha256, "name": source.name}
    tx.connection.execute(source_file.insert(), values)
    return new


def _see(
    tx: Transaction, source: ImportSource, items: Sequence[tuple[int, NewLabelled]]
) -> None:
    """Write down where structures were seen: the label of one says no more than the program."""
    if not items:
        return
    file_id = _file_id(tx, source)
    names = ("structure_id", "source", "group_key", "kind", "file_id", "frame")
    kind = str(SightingKind.IMPORT)
    rows = [
        (one, source.name, item.structure.group, kind, file_id, item.index)
        for one, item in items
    ]
    bulk.insert_values(tx.connection, sighting, names, rows, skip_known=True)


def _write_labels(
    tx: Transaction,
    lot_id: int,
    waiting: Mapping[str, AnyRow],
    source: ImportSource,
    items: Sequence[tuple[int, NewLabelled]],
) -> None:
    free = next_id(tx.connection, label_item)
    ok, origin = str(ItemState.OK), (str(Quality.OK), source.program, tx.now)
    requests: list[tuple[Any, ...]] = []
    labels: list[tuple[Any, ...]] = []
    for (one, item), content in zip(items, _contents(items, source), strict=True):
        asked = waiting.get(item.hash) if waiting else None
        if asked is None:
            identity = (free + len(requests), one, lot_id, 0)
            requests.append((*identity, ok))
        else:
            identity = (asked.id, one, lot_id, asked.rev)
            _complete(tx, asked.id)
        labels.append((*identity, *content, *origin))
    identified = ("id", "structure_id", "lot_id", "rev")
    bulk.insert_values(tx.connection, label_item, (*identified, "state"), requests)
    names = (*identified, *LABEL_COLUMNS, "quality", "program_version", "created")
    bulk.insert_values(tx.connection, label, names, labels)


def _count(tx: Transaction, lot_id: int, found: _Sorted) -> None:
    """Imported labels count for no iteration; those that were asked for, for the one that did."""
    changes: Counter[tuple[int, int, str, ItemState]] = Counter()
    for item in found.new:
        name = item.hash
        split, row = found.splits.get(name, item.structure.split), found.waiting.get(name)
        asked_by = counting.IMPORTED if row is None else row.iteration_id
        place = (asked_by or counting.IMPORTED, lot_id, split)
        changes[*place, ItemState.OK] += 1
        if row is not None:
            changes[*place, ItemState(row.state)] -= 1
    counting.add_labels(tx, changes)


def _contents(
    items: Sequence[tuple[int, NewLabelled]], source: ImportSource
) -> Iterator[tuple[Any, ...]]:
    """Values of `LABEL_COLUMNS` of the new labels."""
    pairs = [(item.label, len(item.structure.structure.numbers)) for _, item in items]
    for (_, item), row in zip(items, label_rows(pairs), strict=True):
        if isinstance(row, MalformedLabel):
            raise StoreError(f"frame {item.index} of {source.name} has {row}") from row
        yield row


def _complete(tx: Transaction, item_id: int) -> None:
    """A label that was asked for has come by another way; its task's result is ignored."""
    values = {
        "state": ItemState.OK,
        "failure_kind": None,
        "message": None,
        "details_json": None,
    }
    tx.connection.execute(label_item.update().where(label_item.c.id == item_id), values)


def _last_iteration(tx: Transaction) -> int:
    last = select(func.max(iteration.c.number)).where(
        iteration.c.campaign_id == tx.campaign_id
    )
    return int(tx.connection.scalar(last) or 0)


def _sorted(
    connection: Connection, lot_id: int | None, items: Sequence[NewLabelled]
) -> _Sorted:
    hashes = hashes_of([item.structure.structure for item in items])
    ids = structure_ids(connection, hashes)
    stored = {} if lot_id is None else _stored(connection, lot_id, list(ids.values()))
    split_of = splits_of(connection, list(ids.values()))
    splits = {name: split_of[one] for name, one in ids.items() if one in split_of}
    new: list[NewLabelled] = []
    waiting: dict[str, AnyRow] = {}
    conflicts: list[int] = []
    known: list[NewLabelled] = []
    for name, item in zip(hashes, items, strict=True):
        row = stored.get(ids.get(name, 0))
        if row is None or row.energy is None:
            new.append(item)
            if row is not None:
                waiting[name] = row
        elif same_label(label_from(row), item.label):
            known.append(item)
        else:
            conflicts.append(item.index)
    others = sum(
        name in splits and splits[name] != item.structure.split
        for name, item in zip(hashes, items, strict=True)
    )
    n_structures = sum(item.hash not in ids for item in new) if ids else len(new)
    counts = (n_structures, len(new), len(known), others)
    result = ImportResult(*counts, tuple(conflicts))
    return _Sorted(new, known, ids, waiting, splits, result)


def _stored(
    connection: Connection, lot_id: int, structure_ids_: Sequence[int]
) -> dict[int, AnyRow]:
    """The current label of each structure, else the last request for one; by structure."""
    found: dict[int, AnyRow] = {}
    is_current = and_(label.c.id == label_item.c.id, label.c.superseded_by.is_(None))
    for part in chunks(structure_ids_):
        query = (
            select(
                label_item.c.id,
                label_item.c.rev,
                label_item.c.structure_id,
                label_item.c.state,
                task.c.iteration_id,
                label.c.n_atoms,
                label.c.energy,
                label.c.forces,
                label.c.stress,
                label.c.extras_json,
            )
            .outerjoin(label, is_current)
            .outerjoin(task, task.c.id == label_item.c.task_id)
            .where(label_item.c.lot_id == lot_id, label_item.c.structure_id.in_(part))
            .order_by(label_item.c.rev)
        )
        for row in connection.execute(query):
            known = found.get(row.structure_id)
            if known is None or known.energy is None:
                found[row.structure_id] = row
    return found
