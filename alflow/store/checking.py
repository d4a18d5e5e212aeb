"""Is everything in a store as it should be? Reads only; safe while a manager writes.

Each check is told in one `CheckResult`. Nothing is taken on trust: constraints that the database
should have enforced are checked again, because a file may have been edited, or damaged on disk.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    case,
    func,
    or_,
    select,
    text,
)

from alflow.core.errors import StoreError
from alflow.core.tasks import TaskState
from alflow.store import counting, rehashing, snapshots
from alflow.store.codec import AnyRow
from alflow.store.rows import ItemState, Split
from alflow.store.schema import (
    campaign_structure,
    label,
    label_count,
    label_item,
    metadata,
    prediction,
    snapshot,
    snapshot_interval,
    structure,
    task,
    task_count,
)
from alflow.store.session import Session

N_NAMED = 5
"""Offenders that a result names."""

_OPEN = (TaskState.QUEUED, TaskState.LEASED)


class CheckState(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    """Harmless, but something to tidy up."""
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found.

    Attributes:
        name: What was checked.
        state: How it ended.
        n_checked: Rows, files or relations that were looked at.
        n_bad: How many of them are not as they should be.
        first: Names of the first few of those.
        detail: What that means, a phrase; empty if all is well.
    """

    name: str
    state: CheckState
    n_checked: int
    n_bad: int
    first: tuple[str, ...] = ()
    detail: str = ""


@dataclass
class _Tally:
    """Counts what is looked at, and remembers the first that is bad."""

    detail: str = ""
    n_checked: int = 0
    n_bad: int = 0
    first: list[str] = field(default_factory=list)

    def bad(self, names: Iterable[str]) -> None:
        for name in names:
            self.n_bad += 1
            if len(self.first) < N_NAMED:
                self.first.append(name)

    def result(self, name: str, state: CheckState = CheckState.FAIL) -> CheckResult:
        return CheckResult(
            name,
            state if self.n_bad else CheckState.OK,
            self.n_checked,
            self.n_bad,
            tuple(self.first),
            self.detail if self.n_bad else "",
        )


def check_store(store: Session, sample: int | None = None) -> Iterator[CheckResult]:
    """Run all checks, one after the other.

    A check that the database cannot answer any more, because it is damaged, is one that failed.

    Args:
        store: The store.
        sample: Re-hash only so many structures, labels and blobs, chosen at random, and look at
            the pages of a file less thoroughly; None for all.
    """
    checks: dict[str, Callable[[], CheckResult]] = {
        "pages": lambda: _pages(store, is_quick=sample is not None),
        "foreign keys": lambda: _read(store, _foreign_keys),
        "array lengths": lambda: _read(store, _lengths),
        "structures": lambda: _rehashed("structures", store, sample),
        "labels": lambda: _rehashed("labels", store, sample),
        "settings": lambda: _rehashed("settings", store, sample),
        "blobs": lambda: _rehashed("blobs", store, sample),
        "blob files": lambda: _blob_files(store),
        "snapshots": lambda: _read(store, _snapshots),
        "splits": lambda: _read(store, _splits),
        "current labels": lambda: _read(store, _current_labels),
        "requested labels": lambda: _read(store, _items),
        "counts": lambda: _read(store, _counts),
    }
    if store.database.path is None:
        # A server looks after its pages itself, and keeps all content in rows.
        del checks["pages"], checks["blob files"]
    for name, run in checks.items():
        try:
            yield run()
        except StoreError as error:
            yield CheckResult(name, CheckState.FAIL, 0, 1, (), error.message)


def _read(store: Session, check: Callable[[Connection], CheckResult]) -> CheckResult:
    with store.read() as connection:
        return check(connection)


def _pages(store: Session, *, is_quick: bool) -> CheckResult:
    tally = _Tally("the file is damaged: go back to a backup")
    pragma = "quick_check" if is_quick else "integrity_check"
    with store.read() as connection:
        tally.n_checked = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        rows = connection.execute(text(f"PRAGMA {pragma}(100)")).scalars()
        tally.bad(row for row in rows if row != "ok")
    return tally.result("pages")


def _foreign_keys(connection: Connection) -> CheckResult:
    tally = _Tally("rows refer to rows that are not there")
    for table in metadata.sorted_tables:
        for key in table.foreign_key_constraints:
            (element,) = key.elements
            column, parent = element.parent, element.column.table.alias()
            target = parent.c[element.column.name]
            query = (
                select(*table.primary_key.columns)
                .outerjoin(parent, target == column)
                .where(column.is_not(None), target.is_(None))
            )
            tally.n_checked += 1
            tally.bad(
                f"{table.name} {'/'.join(map(str, row))}: {column.name}"
                for row in connection.execute(query)
            )
    return tally.result("foreign keys")


def _lengths(connection: Connection) -> CheckResult:
    tally = _Tally("arrays do not have the length that their number of atoms asks for")
    s, n = structure.c, structure.c.n_atoms
    wrong = or_(
        func.length(s.numbers) != n,
        *(func.length(column) != 24 * n for column in (s.positions, s.magmoms)),
        func.length(s.cell) != 72,  # noqa: PLR2004 (nine numbers)
        func.length(s.hash) != 32,  # noqa: PLR2004 (as the schema says)
    )
    _find(connection, tally, structure, select(s.id).where(wrong), "s-")
    own = label.c.n_atoms
    wrong = or_(
        own != n,
        func.length(label.c.forces) != 24 * own,
        func.length(label.c.stress) != 48,  # noqa: PLR2004 (six numbers)
        func.length(label.c.dipole) != 24,  # noqa: PLR2004 (three numbers)
        func.length(label.c.charges) != 8 * own,
    )
    joined = select(label.c.id).join(structure, s.id == label.c.structure_id)
    _find(connection, tally, label, joined.where(wrong), "l-")
    joined = select(label.c.id).join(prediction, prediction.c.label_id == label.c.id)
    wrong = func.length(prediction.c.forces) != 24 * own
    _find(connection, tally, prediction, joined.where(wrong), "prediction of l-")
    return tally.result("array lengths")


def _rehashed(name: str, store: Session, sample: int | None) -> CheckResult:
    tally = _Tally(rehashing.DETAILS[name])
    for n_checked, offenders in rehashing.REHASHED[name](store.database, sample):
        tally.n_checked += n_checked
        tally.bad(offenders)
    return tally.result(name)


def _blob_files(store: Session) -> CheckResult:
    path = store.database.path
    tally = _Tally()
    if path is not None:
        with store.read() as connection:
            files, orphans = rehashing.blob_files(connection, path)
        tally.n_checked = len(files)
        tally.bad(f"{file.name[:12]} ({size} bytes)" for file, size in orphans.items())
        tally.detail = f"files that no row names, harmless: alflow db gc {path}"
    return tally.result("blob files", CheckState.WARN)


def _snapshots(connection: Connection) -> CheckResult:
    tally = _Tally("the digest of the labels that are in it is not the one that was stored")
    for row in connection.execute(select(snapshot).order_by(snapshot.c.seq)):
        members = snapshots.members_at(connection, row.campaign_id, row.seq)
        counts = [
            sum(1 for member in members if member[2] == role)
            for role in (Split.TRAIN, Split.VAL)
        ]
        tally.n_checked += 1
        found = (snapshots.digest(members), *counts)
        if found != (row.digest, row.n_train, row.n_val):
            tally.bad([f"d{row.seq}"])
    return tally.result("snapshots")


def _splits(connection: Connection) -> CheckResult:
    tally = _Tally("what is kept apart for tests or validation is mixed with the rest")
    member = campaign_structure.c
    mixed = (
        select(member.group_key)
        .group_by(member.campaign_id, member.group_key)
        .having(func.count(member.split.distinct()) > 1)
    )
    _find(connection, tally, campaign_structure, mixed, "group ")
    interval = snapshot_interval.c
    leaked = (
        select(interval.from_seq, interval.label_id)
        .join(label, label.c.id == interval.label_id)
        .join(
            campaign_structure,
            and_(
                member.structure_id == label.c.structure_id,
                member.campaign_id == interval.campaign_id,
            ),
        )
        # What is held out of a training set on top of that is no leak.
        .where(member.split != interval.role, interval.role != Split.TEST)
        .order_by(interval.from_seq, interval.label_id)
    )
    tally.n_checked += _count(connection, snapshot_interval)
    tally.bad(
        f"l-{row.label_id} since d{row.from_seq}" for row in connection.execute(leaked)
    )
    return tally.result("splits")


def _current_labels(connection: Connection) -> CheckResult:
    tally = _Tally("not exactly one current label of a structure at a level")
    is_current = case((label.c.superseded_by.is_(None), 1), else_=0)
    query = (
        select(func.min(label.c.id))
        .group_by(label.c.structure_id, label.c.lot_id)
        .having(func.sum(is_current) != 1)
    )
    _find(connection, tally, label, query, "l-")
    newer = label.alias()
    strange = (
        select(label.c.id)
        .join(newer, newer.c.id == label.c.superseded_by)
        .where(_differ(label, newer, "structure_id", "lot_id"))
    )
    tally.bad(f"l-{name}" for name in connection.execute(strange).scalars())
    return tally.result("current labels")


def _items(connection: Connection) -> CheckResult:
    tally = _Tally("what was asked for and what is there do not fit together")
    item = label_item.c
    tally.n_checked = _count(connection, label_item)
    found = (
        select(
            item.id, item.state, label.c.id.label("label_id"), task.c.state.label("task")
        )
        .outerjoin(label, label.c.id == item.id)
        .outerjoin(task, task.c.id == item.task_id)
        .where(
            or_(
                (item.state == ItemState.OK) & label.c.id.is_(None),
                (item.state != ItemState.OK) & label.c.id.is_not(None),
                _differ(label, label_item, "structure_id", "lot_id", "rev"),
                (item.state == ItemState.PENDING)
                & (task.c.state.is_(None) | task.c.state.not_in(_OPEN)),
            )
        )
        .order_by(item.id)
    )
    tally.bad(map(_item_in_words, connection.execute(found)))
    return tally.result("requested labels")


def _counts(connection: Connection) -> CheckResult:
    tally = _Tally("what the status shows is not what is there")
    for table in (label_count, task_count):
        tally.n_checked += _count(connection, table)
    for name, wrong in counting.drift(connection).items():
        tally.bad(f"{name} {'/'.join(map(str, key))}: {n:+d}" for key, n in wrong.items())
    return tally.result("counts")


def _item_in_words(row: AnyRow) -> str:
    if row.state == ItemState.PENDING and row.label_id is None:
        return f"l-{row.id} is pending, its task {row.task or 'missing'}"
    there = "without" if row.label_id is None else "with another"
    return f"l-{row.id} is {row.state} {there} label"


def _differ(one: Any, other: Any, *names: str) -> ColumnElement[bool]:
    return or_(*(one.c[name] != other.c[name] for name in names))


def _find(
    connection: Connection, tally: _Tally, table: Table, query: Select[Any], prefix: str
) -> None:
    """Count the rows of a table, and those that a query calls bad by their first column."""
    tally.n_checked += _count(connection, table)
    bad = connection.execute(query.order_by(query.selected_columns[0])).scalars()
    tally.bad(f"{prefix}{name}" for name in bad)


def _count(connection: Connection, table: Table) -> int:
    return int(connection.scalar(select(func.count()).select_from(table)) or 0)
