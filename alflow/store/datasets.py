"""Labelled structures as flat arrays, read column by column: no object for each structure."""

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from alflow.core.datasets import Dataset, numbered
from alflow.core.errors import StoreError
from alflow.store import bulk
from alflow.store.labels import JOINED, Which, selected
from alflow.store.schema import campaign_structure, label, structure

_COLUMNS = (
    label.c.n_atoms,
    label.c.id,
    label.c.energy,
    label.c.forces,
    label.c.stress,
    structure.c.numbers,
    structure.c.positions,
    structure.c.cell,
    structure.c.pbc,
    structure.c.charge,
    structure.c.multiplicity,
    campaign_structure.c.group_key,
    campaign_structure.c.source,
)
"""What `_dataset` needs, in its order."""

_ID = 1
_LABELLED = select(*_COLUMNS).select_from(JOINED)

_NO_CELL = np.zeros(9, "<f8").tobytes()
_NO_STRESS = np.full(6, np.nan, "<f8").tobytes()
_NO_FORCE = np.full(3, np.nan, "<f8").tobytes()
_PERIODIC_BITS = np.array([1, 2, 4])


def load(connection: Connection, which: Which) -> Dataset:
    """Labels of one level with their structures, ordered by label id."""
    query = bulk.prepared(connection.dialect, selected(connection, _COLUMNS, which))
    return _dataset(bulk.columns(connection, query))


def load_batch(connection: Connection, label_ids: Sequence[int]) -> Dataset:
    """Labels by number with their structures, in the order asked for.

    Raises:
        StoreError: If there is no such label.
    """
    found: dict[int, tuple[Any, ...]] = {}
    wanted = list(dict.fromkeys(label_ids))
    for columns in bulk.matching(connection, _LABELLED, label.c.id, wanted):
        found.update(zip(columns[_ID], zip(*columns, strict=True), strict=True))
    missing = [label_id for label_id in label_ids if label_id not in found]
    if missing:
        raise StoreError(f"label l-{missing[0]} is not in the store")
    rows = [found[label_id] for label_id in label_ids]
    return _dataset([list(zip(*rows, strict=True))] if rows else [])


class _Gathered:
    """Columns of any length; bytes grow in place, so that nothing is held twice."""

    def __init__(self) -> None:
        self.scalars: list[list[Any]] = [[] for _ in range(8)]
        self.raw = {
            name: bytearray()
            for name in ("numbers", "positions", "cells", "forces", "stress")
        }
        self.has_forces: list[bool] = []
        self.has_stress: list[bool] = []

    def add(self, columns: Sequence[tuple[Any, ...]]) -> None:
        n_atoms, ids, energy, forces, stress, numbers, positions, cells, *rest = columns
        scalars = (n_atoms, ids, energy, *rest)
        for column, values in zip(self.scalars, scalars, strict=True):
            column.extend(values)
        self.has_forces += [one is not None for one in forces]
        self.has_stress += [one is not None for one in stress]
        no_forces = (_NO_FORCE * n for n in n_atoms)
        self.raw["numbers"] += b"".join(numbers)
        self.raw["positions"] += b"".join(positions)
        self.raw["cells"] += _filled(cells, repeat(_NO_CELL))
        self.raw["forces"] += _filled(forces, no_forces)
        self.raw["stress"] += _filled(stress, repeat(_NO_STRESS))

    def array(self, name: str, *shape: int) -> np.ndarray:
        raw = self.raw[name]
        return (
            np.frombuffer(raw, "<f8").reshape(-1, *shape) if raw else np.zeros((0, *shape))
        )


def _filled(values: Sequence[bytes | None], missing: Iterable[bytes]) -> bytes:
    """All values in a row, with what stands for those that are NULL."""
    whole = [value for value in values if value is not None]
    if len(whole) == len(values):
        return b"".join(whole)
    pairs = zip(values, missing, strict=False)
    return b"".join(instead if value is None else value for value, instead in pairs)


def _dataset(parts: Iterable[Sequence[tuple[Any, ...]]]) -> Dataset:
    found = _Gathered()
    for part in parts:
        found.add(part)
    n_atoms, ids, energy, pbc, charge, multiplicity, group, source = found.scalars
    groups, group_idx = numbered(group)
    sources, source_idx = numbered(source)
    return Dataset(
        n_atoms=np.array(n_atoms, "<i8"),
        numbers=np.frombuffer(found.raw["numbers"], "u1") if ids else np.zeros(0, "u1"),
        positions=found.array("positions", 3),
        cells=found.array("cells", 3, 3),
        pbc=(np.array(pbc, "<i8").reshape(-1, 1) & _PERIODIC_BITS) != 0,
        charge=np.array(charge, "<i8"),
        multiplicity=np.array(multiplicity, "<i8"),
        energy=np.array(energy, "<f8"),
        has_forces=np.array(found.has_forces, bool),
        forces=found.array("forces", 3),
        has_stress=np.array(found.has_stress, bool),
        stress=found.array("stress", 6),
        label_id=np.array(ids, "<i8"),
        group_idx=group_idx,
        source_idx=source_idx,
        groups=groups,
        sources=sources,
    )
