"""Second thoughts about labels: they are set aside or superseded, never changed or deleted.

Snapshots that have been closed keep what they had, so that a generation can always be traced to
what it was trained on; the next one is without.
"""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import func, select

from alflow.core.errors import StoreError
from alflow.core.labels import Label
from alflow.store import bulk, counting
from alflow.store.codec import LABEL_COLUMNS, AnyRow, MalformedLabel, label_rows
from alflow.store.database import next_id
from alflow.store.publishing import splits_of
from alflow.store.rows import ItemState, Quality
from alflow.store.schema import label, label_item
from alflow.store.transaction import Transaction


def set_quality(
    tx: Transaction, labels: Sequence[int], quality: Quality, reason: str
) -> int:
    """Say how far labels are trusted, with an event for each; how many that changes.

    Raises:
        StoreError: If there is no such label, or the reason is empty.
    """
    if not reason.strip():
        raise StoreError("a label is not set aside, nor taken back, without a reason")
    changed = 0
    for number in dict.fromkeys(labels):
        if _row(tx, number).quality == quality:
            continue
        values = {"quality": str(quality)}
        tx.connection.execute(label.update().where(label.c.id == number), values)
        data = {"quality": str(quality), "reason": reason}
        tx.event("label-quality", f"l-{number}", data)
        changed += 1
    return changed


def supersede(tx: Transaction, number: int, new: Label, program: str, reason: str) -> int:
    """Put another label in the place of a current one, which stays; the id of the new one.

    Args:
        tx: The transaction.
        number: Id of the label.
        new: The better label of the same structure at the same level.
        program: What computed it, with its version.
        reason: Why it is better.

    Raises:
        StoreError: If there is no such label, it has been superseded, or the new one is malformed.
    """
    old = _row(tx, number)
    if old.superseded_by is not None:
        raise StoreError(f"l-{number} has been superseded by l-{old.superseded_by} already")
    (content,) = label_rows([(new, old.n_atoms)])
    if isinstance(content, MalformedLabel):
        raise StoreError(f"the label that is to supersede l-{number} has {content}")
    place = (label_item.c.structure_id == old.structure_id) & (
        label_item.c.lot_id == old.lot_id
    )
    rev = 1 + int(tx.connection.scalar(select(func.max(label_item.c.rev)).where(place)))
    mine = next_id(tx.connection, label_item)
    identity = (mine, old.structure_id, old.lot_id, rev)
    names = ("id", "structure_id", "lot_id", "rev")
    state = str(ItemState.OK)
    bulk.insert_values(tx.connection, label_item, (*names, "state"), [(*identity, state)])
    # Never two current labels, and never a reference to a label that is not there: the new one
    # refers to itself until the old one refers to it.
    origin = {"quality": str(Quality.OK), "program_version": program, "created": tx.now}
    columns = (*names, "superseded_by", *LABEL_COLUMNS, *origin)
    row = (*identity, mine, *content, *origin.values())
    bulk.insert_values(tx.connection, label, columns, [row])
    for one, other in ((number, mine), (mine, None)):
        update = label.update().where(label.c.id == one)
        tx.connection.execute(update, {"superseded_by": other})
    splits = splits_of(tx.connection, [old.structure_id])
    place_of = (counting.IMPORTED, old.lot_id)
    counts = Counter((*place_of, split, ItemState.OK) for split in splits.values())
    counting.add_labels(tx, counts)
    tx.event("label-superseded", f"l-{number}", {"by": f"l-{mine}", "reason": reason})
    return mine


def _row(tx: Transaction, number: int) -> AnyRow:
    columns = (
        label.c.structure_id,
        label.c.lot_id,
        label.c.n_atoms,
        label.c.quality,
        label.c.superseded_by,
    )
    row = tx.connection.execute(select(*columns).where(label.c.id == number)).one_or_none()
    if row is None:
        raise StoreError(f"there is no label l-{number}")
    return row
