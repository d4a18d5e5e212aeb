"""Labels beside those by which they were audited: read-only."""

from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, select, true

from alflow.core.labels import audit_level
from alflow.core.metrics import rmse
from alflow.store.codec import AnyRow, array
from alflow.store.rows import ItemState, Quality
from alflow.store.schema import label, label_item, level_of_theory, structure


class Audit(NamedTuple):
    """A label, and how far the one that was computed with more care is from it.

    Attributes:
        label_id: Id of the label.
        structure: Hash of its structure.
        n_atoms: Number of atoms.
        is_trusted: Whether the label is trusted.
        energy: The audit's energy minus that of the label [eV].
        force: Root mean square difference of force components [eV/Å]; NaN unless both have forces.
    """

    label_id: int
    structure: str
    n_atoms: int
    is_trusted: bool
    energy: float
    force: float


def audits(connection: Connection, level: str, before: float | None = None) -> list[Audit]:
    """All audits of labels of a level, by label; with `before` those that were there then [s]."""
    again, lot, other = (
        label.alias("again"),
        level_of_theory,
        level_of_theory.alias("other"),
    )
    query = (
        select(
            label.c.id,
            structure.c.hash,
            label.c.n_atoms,
            label.c.quality,
            (again.c.energy - label.c.energy).label("energy"),
            label.c.forces,
            again.c.forces.label("forces_again"),
        )
        .select_from(again)
        .join(other, other.c.id == again.c.lot_id)
        .join(label, label.c.structure_id == again.c.structure_id)
        .join(lot, lot.c.id == label.c.lot_id)
        .join(structure, structure.c.id == label.c.structure_id)
        .where(
            lot.c.name == level,
            other.c.name == audit_level(level),
            label.c.superseded_by.is_(None),
            again.c.superseded_by.is_(None),
            again.c.quality == Quality.OK,
            true() if before is None else again.c.created <= before,
        )
        .order_by(label.c.id)
    )
    return [_audit(row) for row in connection.execute(query)]


class Labelled(NamedTuple):
    """A structure with a label.

    Attributes:
        structure: Its hash.
        is_own: Whether the campaign asked for the label, and did not import it.
        is_trusted: Whether the label is trusted.
    """

    structure: str
    is_own: bool
    is_trusted: bool


def labelled(connection: Connection, level: str) -> dict[int, Labelled]:
    """All labels of a level, imported ones and those put aside included, by id."""
    query = (
        select(label.c.id, structure.c.hash, label_item.c.task_id, label.c.quality)
        .join(structure, structure.c.id == label.c.structure_id)
        .join(label_item, label_item.c.id == label.c.id)
        .join(level_of_theory, level_of_theory.c.id == label.c.lot_id)
        .where(
            level_of_theory.c.name == level,
            label.c.superseded_by.is_(None),
        )
        .order_by(label.c.id)
    )
    return {
        row.id: Labelled(row.hash, row.task_id is not None, row.quality == Quality.OK)
        for row in connection.execute(query)
    }


def failed(connection: Connection, level: str) -> dict[str, str]:
    """Why labels of a level could not be computed again, by hash of the structure."""
    query = (
        select(structure.c.hash, label_item.c.failure_kind, label_item.c.message)
        .join(structure, structure.c.id == label_item.c.structure_id)
        .join(level_of_theory, level_of_theory.c.id == label_item.c.lot_id)
        .where(
            level_of_theory.c.name == audit_level(level),
            label_item.c.state == ItemState.FAILED,
        )
    )
    return {
        row.hash: f"{row.failure_kind}: {row.message}" for row in connection.execute(query)
    }


def _audit(row: AnyRow) -> Audit:
    before, after = (array(one, row.n_atoms, 3) for one in (row.forces, row.forces_again))
    both = before is not None and after is not None
    force = rmse(np.asarray(after) - np.asarray(before)) if both else float("nan")
    is_trusted = row.quality == Quality.OK
    return Audit(row.id, row.hash, row.n_atoms, is_trusted, float(row.energy), force)
