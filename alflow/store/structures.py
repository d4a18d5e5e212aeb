"""Structures in and out."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from alflow.core.errors import StoreError
from alflow.core.structures import Structure, hashes_of
from alflow.store import bulk
from alflow.store.codec import STRUCTURE_COLUMNS, chunks, structure_from, structure_rows
from alflow.store.database import ARRAYS, next_id
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


def ensure(tx: Transaction, structures: Sequence[Structure]) -> dict[str, int]:
    """Store the structures that are new, in the given order; ids of all by hash."""
    hashes = hashes_of(structures)
    ids = structure_ids(tx.connection, hashes)
    by_hash = zip(hashes, structures, strict=True)
    return ids | insert(tx, {name: one for name, one in by_hash if name not in ids})


def insert(tx: Transaction, structures: Mapping[str, Structure]) -> dict[str, int]:
    """Store structures that are not there, in the given order; their ids by hash."""
    free = next_id(tx.connection, structure)
    found = structure_rows([*structures.values()])
    rows = [(k, *row, tx.now) for k, row in enumerate(found, free)]
    names = ("id", *STRUCTURE_COLUMNS, "created")
    bulk.insert_values(tx.connection, structure, names, rows)
    return {name: k for k, name in enumerate(structures, free)}


def add(tx: Transaction, items: Sequence[NewStructure], number: int) -> list[int]:
    """Add structures to the campaign; a known one keeps its split and group for good."""
    ids = ensure(tx, [item.structure for item in items])
    parents = structure_ids(tx.connection, [item.parent for item in items if item.parent])
    unknown = [item.parent for item in items if item.parent and item.parent not in parents]
    if unknown:
        raise StoreError(f"the parent {unknown[0]} of a structure is not in the store")
    here = [ids[item.structure.hash] for item in items]
    add_members(tx, [*zip(here, items, strict=True)], number)
    names = ("structure_id", "source", "group_key", "kind", "parent_structure_id")
    rows = [
        (one, item.source, item.group, str(item.kind), parents.get(item.parent or ""))
        for one, item in zip(here, items, strict=True)
    ]
    bulk.insert_values(tx.connection, sighting, names, rows, skip_known=True)
    return here


def add_members(
    tx: Transaction, items: Sequence[tuple[int, NewStructure]], number: int
) -> None:
    """Make stored structures part of the campaign; one that is part of it stays as it is.

    Args:
        tx: The transaction.
        items: Ids of structures, and what is known about them.
        number: The iteration.
    """
    names = ("structure_id", "campaign_id", "group_key", "split", "source", "added_iter")
    rows = [
        (one, tx.campaign_id, item.group, str(item.split), item.source, number)
        for one, item in items
    ]
    bulk.insert_values(tx.connection, campaign_structure, names, rows, skip_known=True)


def load(connection: Connection, hashes: Sequence[str]) -> list[Structure]:
    """The structures with these hashes, in the order asked for."""
    found: dict[str, Structure] = {}
    for part in chunks(list(dict.fromkeys(hashes))):
        query = select(*COLUMNS).where(structure.c.hash.in_(part))
        rows = connection.execute(query, execution_options=ARRAYS)
        found.update({row.hash: structure_from(row) for row in rows})
    missing = [name for name in hashes if name not in found]
    if missing:
        raise StoreError(
            f"structure {missing[0]} is not in the store ({len(missing)} missing)"
        )
    return [found[name] for name in hashes]
