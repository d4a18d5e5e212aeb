"""Snapshots: which labels a generation was trained on, for good."""

from collections import Counter
from collections.abc import Iterable, Sequence

from sqlalchemy import (
    Connection,
    Select,
    and_,
    func,
    insert,
    literal,
    literal_column,
    select,
)

from alflow.core.canonical import digest_of
from alflow.core.errors import StoreError
from alflow.store import datasets, labels
from alflow.store.codec import chunks, json_text
from alflow.store.database import next_id
from alflow.store.publishing import level_id, structure_ids
from alflow.store.rows import Quality, Snapshot, Split
from alflow.store.schema import (
    campaign_structure,
    ensemble,
    label,
    snapshot,
    snapshot_interval,
    structure,
)
from alflow.store.transaction import Transaction

_TRAINED_ON = (Split.TRAIN, Split.VAL)
# The word stands in the statement itself, and in a query of its own: SQLite uses the index of such
# labels only then.
PUT_ASIDE = select(label.c.id).where(label.c.quality != literal_column(f"'{Quality.OK}'"))
"""Ids of the labels that are not trusted."""


def close(
    tx: Transaction, seq: int, lot: str, held_out: Sequence[str] = ()
) -> tuple[int, str, dict[str, int]]:
    """Close snapshot `seq` over all accepted labels of a level.

    Args:
        tx: The transaction.
        seq: Its number.
        lot: Name of the level.
        held_out: Hashes of structures whose labels, new in it, are to test on.

    Returns:
        Its id, its digest, and the number of labels by role.
    """
    latest: int | None = tx.connection.scalar(
        select(func.max(snapshot.c.seq)).where(snapshot.c.campaign_id == tx.campaign_id)
    )
    if latest is not None and seq <= latest:
        raise StoreError(f"snapshot d{seq} would come after d{latest}")
    _update_intervals(tx, seq, level_id(tx.connection, lot))
    _hold_out(tx, seq, held_out)
    rows = members_at(tx.connection, tx.campaign_id, seq)
    counts: dict[str, int] = {
        role: sum(1 for row in rows if row[2] == role) for role in _TRAINED_ON
    }
    if not counts[Split.TRAIN]:
        raise StoreError(f"there is no label at level {lot!r} to train on")
    sha = digest(rows)
    snapshot_id = next_id(tx.connection, snapshot)
    values = {
        "id": snapshot_id,
        "campaign_id": tx.campaign_id,
        "seq": seq,
        "n_train": counts[Split.TRAIN],
        "n_val": counts[Split.VAL],
        "digest": sha,
        "rule_json": json_text({"level": lot, "splits": list(_TRAINED_ON)}),
        "created": tx.now,
    }
    tx.connection.execute(snapshot.insert(), values)
    return snapshot_id, sha, counts


def reopen(tx: Transaction, snapshot_id: int, seq: int) -> None:
    """Take back the last snapshot, as if it had never been closed; no ensemble may refer to it."""
    interval = snapshot_interval.c
    own = interval.campaign_id == tx.campaign_id
    tx.connection.execute(snapshot_interval.delete().where(own, interval.from_seq == seq))
    tx.connection.execute(
        snapshot_interval.update().where(own, interval.to_seq == seq).values(to_seq=None)
    )
    tx.connection.execute(snapshot.delete().where(snapshot.c.id == snapshot_id))


def load(tx: Transaction, seq: int, lot: str, generation: int) -> Snapshot:
    """A closed snapshot with its labels to train on."""
    row = tx.connection.execute(
        select(snapshot).where(
            snapshot.c.campaign_id == tx.campaign_id, snapshot.c.seq == seq
        )
    ).one()
    which = labels.Which(Split.TRAIN, lot, generation)
    items = datasets.load(tx.connection, which)
    return Snapshot(seq, row.digest, row.n_train, row.n_val, items)


def _accepted(tx: Transaction, lot_id: int) -> Select[tuple[int, str]]:
    """Labels that belong into a snapshot closed now, with their roles."""
    return (
        select(label.c.id, campaign_structure.c.split)
        .join(
            campaign_structure,
            and_(
                campaign_structure.c.structure_id == label.c.structure_id,
                campaign_structure.c.campaign_id == tx.campaign_id,
            ),
        )
        .where(
            label.c.lot_id == lot_id,
            label.c.quality == Quality.OK,
            label.c.superseded_by.is_(None),
            campaign_structure.c.split.in_(_TRAINED_ON),
        )
    )


def _update_intervals(tx: Transaction, seq: int, lot_id: int) -> None:
    accepted = _accepted(tx, lot_id).subquery()
    interval = snapshot_interval.c
    is_open = (interval.campaign_id == tx.campaign_id) & interval.to_seq.is_(None)
    tx.connection.execute(
        snapshot_interval.update()
        .where(is_open, interval.label_id.not_in(select(accepted.c.id)))
        .values(to_seq=seq)
    )
    has_open = select(interval.label_id).where(is_open)
    new = select(
        literal(tx.campaign_id), accepted.c.id, accepted.c.split, literal(seq)
    ).where(accepted.c.id.not_in(has_open))
    columns = ["campaign_id", "label_id", "role", "from_seq"]
    tx.connection.execute(insert(snapshot_interval).from_select(columns, new))


def _hold_out(tx: Transaction, seq: int, hashes: Sequence[str]) -> None:
    interval = snapshot_interval.c
    for part in chunks(list(structure_ids(tx.connection, hashes).values())):
        labels_of = select(label.c.id).where(label.c.structure_id.in_(part))
        tx.connection.execute(
            snapshot_interval.update()
            .where(
                interval.campaign_id == tx.campaign_id,
                interval.from_seq == seq,
                interval.label_id.in_(labels_of),
            )
            .values(role=Split.TEST)
        )


def members_at(
    connection: Connection, campaign_id: int, seq: int
) -> list[tuple[str, str, str]]:
    """(structure hash, label checksum, role) of what is in snapshot `seq`."""
    interval = snapshot_interval.c
    query = (
        select(structure.c.hash, label.c.content_sha, interval.role)
        .join(label, label.c.id == interval.label_id)
        .join(structure, structure.c.id == label.c.structure_id)
        .where(
            interval.campaign_id == campaign_id,
            interval.from_seq <= seq,
            interval.to_seq.is_(None) | (interval.to_seq > seq),
        )
    )
    return [(row.hash, row.content_sha, row.role) for row in connection.execute(query)]


def put_aside(connection: Connection) -> Counter[int]:
    """Number of labels in snapshots that are not trusted any more, by generation."""
    interval, is_trained = snapshot_interval.c, snapshot_interval.c.role.in_(_TRAINED_ON)
    query = (
        select(ensemble.c.generation, func.count().label("n"))
        .select_from(ensemble)
        .join(snapshot, snapshot.c.id == ensemble.c.snapshot_id)
        .join(
            snapshot_interval,
            and_(
                interval.campaign_id == snapshot.c.campaign_id,
                interval.from_seq <= snapshot.c.seq,
                interval.to_seq.is_(None) | (interval.to_seq > snapshot.c.seq),
            ),
        )
        .where(is_trained, interval.label_id.in_(PUT_ASIDE))
        .group_by(ensemble.c.generation)
    )
    return Counter({row.generation: row.n for row in connection.execute(query)})


def digest(members: Iterable[tuple[str, str, str]]) -> str:
    """What names the content of a snapshot."""
    return digest_of([list(row) for row in sorted(members)])
