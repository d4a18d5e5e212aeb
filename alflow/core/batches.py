"""Structures, with or without labels, as the bytes of flat arrays: `alflow.core.arrays`.

This is how geometry travels between the manager and workers. The bytes of a dataset are the
training cache as well: a worker maps the file and uses the arrays as they lie.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from alflow.core.arrays import Buffer, read_arrays, write_arrays
from alflow.core.datasets import Dataset, LabelledStructure
from alflow.core.structures import Structure

__all__ = [
    "LabelledStructure",
    "pack_dataset",
    "pack_structures",
    "read_arrays",
    "unpack_dataset",
    "unpack_structures",
    "write_arrays",
]


def pack_structures(structures: Sequence[Structure]) -> bytes:
    """Bytes of a sequence of structures, in order."""
    return write_arrays(_structure_arrays(structures))


def unpack_structures(content: bytes) -> list[Structure]:
    """The inverse of `pack_structures`."""
    return _structures(read_arrays(content))


def pack_dataset(items: Sequence[LabelledStructure]) -> bytes:
    """Bytes of labelled structures, in order; label extras do not travel."""
    return write_arrays(Dataset.of(items).arrays())


def unpack_dataset(content: Buffer, *, is_verified: bool = False) -> Dataset:
    """The inverse of `pack_dataset`; the arrays lie in `content`.

    Args:
        content: Bytes, or a file mapped into memory.
        is_verified: Whether a checksum of all of it has been compared already.
    """
    return Dataset.from_arrays(read_arrays(content, is_verified=is_verified))


def _structure_arrays(structures: Sequence[Structure]) -> dict[str, np.ndarray]:
    empty = [np.zeros((0, 3))]
    cells = [np.zeros((3, 3)) if s.cell is None else s.cell for s in structures]
    return {
        "n_atoms": np.array([s.n_atoms for s in structures], "<i8"),
        "numbers": np.concatenate([*[s.numbers for s in structures], np.zeros(0)]).astype(
            "u1"
        ),
        "positions": np.concatenate([*[s.positions for s in structures], *empty]).astype(
            "<f8"
        ),
        "cells": np.array(cells, "<f8").reshape(len(structures), 3, 3),
        "pbc": np.array([s.pbc for s in structures], bool).reshape(len(structures), 3),
        "charge": np.array([s.charge for s in structures], "<i8"),
        "multiplicity": np.array([s.multiplicity for s in structures], "<i8"),
    }


def _structures(arrays: Mapping[str, np.ndarray]) -> list[Structure]:
    ends = np.cumsum(arrays["n_atoms"])
    starts = ends - arrays["n_atoms"]
    return [
        Structure(
            arrays["numbers"][start:end],
            arrays["positions"][start:end],
            arrays["cells"][k] if arrays["pbc"][k].any() else None,
            arrays["pbc"][k],
            int(arrays["charge"][k]),
            int(arrays["multiplicity"][k]),
        )
        for k, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
