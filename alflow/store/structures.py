"""Structures in and out."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, select

from alflow.core.errors import StoreError
from alflow.core.structures import Structure
from alflow.store.codec import chunks, structure_from, structure_values
from alflow.store.database import insert_new, next_id
from alflow.store.publishing import structure_ids
from alflow.store.rows import NewStructure
from alflow.store.schema import campaign_structure, sighting, structure
from alflow.store.transaction import Transaction

COLUMNS = (
    structure.c.id,
    structure.c.hash,
    structure.c.n_atoms,
    structure.c.numbers,
    structure.c.positions,
    structure.c.cell,
    structure.c.pbc,
    structure.c.charge,
    structure.c.multiplicity,
)
"""What `structure_from` needs."""


def ensure(tx: Transaction, structures: Iterable[Structure]) -> dict[str, int]:
    """Store the structures that are new, in the given order; ids of all by hash."""
    by_hash = {one.hash: one for one in structures}
    ids = structure_ids(tx.connection, list(by_hash))
    rows: list[dict[str, Any]] = []
    free = next_id(tx.connection, structure)
    for name, one in by_hash.items():
        if name not in ids:
            ids[name] = free + len(rows)
            rows.append({"id": ids[name], "created": tx.now, **structure_values(one)})
    if rows:
        tx.connection.execute(structure.insert(), rows)
    return ids


def add(tx: Transaction, items: Sequence[NewStructure], number: int) -> list[int]:
    """Add structures to the campaign; a known one keeps its split and group for good."""
    ids = ensure(tx, (item.structure for item in items))
    parents = structure_ids(tx.connection, [item.parent for item in items if item.parent])
    members, sightings = [], []
    free = next_id(tx.connection, sighting)
    for offset, item in enumerate(items):
        structure_id = ids[item.structure.hash]
        if item.parent and item.parent not in parents:
            raise StoreError(f"the parent {item.parent} of a structure is not in the store")
        members.append(member(tx, structure_id, item, number))
        sightings.append(
            {
                "id": free + offset,
                "structure_id": structure_id,
                "kind": item.kind,
                "source": item.source,
                "group_key": item.group,
                "parent_structure_id": parents.get(item.parent or ""),
            }
        )
    if items:
        tx.connection.execute(insert_new(tx.connection, campaign_structure), members)
        tx.connection.execute(insert_new(tx.connection, sighting), sightings)
    return [ids[item.structure.hash] for item in items]


def member(
    tx: Transaction, structure_id: int, item: NewStructure, number: int
) -> dict[str, str | int]:
    """Column values of `campaign_structure`."""
    return {
        "campaign_id": tx.campaign_id,
        "structure_id": structure_id,
        "group_key": item.group,
        "split": item.split,
        "source": item.source,
        "added_iter": number,
    }


def load(connection: Connection, hashes: Sequence[str]) -> list[Structure]:
    """The structures with these hashes, in the order asked for."""
    found: dict[str, Structure] = {}
    for part in chunks(list(dict.fromkeys(hashes))):
        query = select(*COLUMNS).where(structure.c.hash.in_(part))
        found.update({row.hash: structure_from(row) for row in connection.execute(query)})
    missing = [name for name in hashes if name not in found]
    if missing:
        raise StoreError(
            f"structure {missing[0]} is not in the store ({len(missing)} missing)"
        )
    return [found[name] for name in hashes]
