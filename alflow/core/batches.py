"""Structures, with or without labels, as flat arrays in one file of bytes.

This is how geometry travels between the manager and workers: a zip of plain arrays (numpy's
`npz`, read with `allow_pickle=False`), whose bytes depend on nothing but the content.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from alflow.core.errors import SettingsError
from alflow.core.labels import Label
from alflow.core.structures import Structure


@dataclass(frozen=True, slots=True)
class LabelledStructure:
    """A structure with its label, as training and validation see it.

    Attributes:
        structure: The geometry.
        label: Its energy and forces.
        label_id: Number of the label in the store; 0 outside of one.
        group: Name of what it came from (a trajectory, a builder's draw): neighbouring frames
            share it, and a hold-out takes whole groups.
        source: Where the structure came from: a builder's or sampler's name.
    """

    structure: Structure
    label: Label
    label_id: int = 0
    group: str = ""
    source: str = ""


def write_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Bytes of named arrays; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})
    return buffer.getvalue()


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
    """The inverse of `write_arrays`.

    Raises:
        SettingsError: If the bytes are not such a file.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise SettingsError(
            f"a batch of arrays is damaged: {error}", code="AL110"
        ) from error


def pack_structures(structures: Sequence[Structure]) -> bytes:
    """Bytes of a sequence of structures, in order."""
    return write_arrays(_structure_arrays(structures))


def unpack_structures(content: bytes) -> list[Structure]:
    """The inverse of `pack_structures`."""
    return _structures(read_arrays(content))


def pack_dataset(items: Sequence[LabelledStructure]) -> bytes:
    """Bytes of labelled structures, in order. Missing forces and stresses are NaN."""
    arrays = _structure_arrays([item.structure for item in items])
    forces: list[Float[np.ndarray, "atoms 3"]] = [
        np.full((item.structure.n_atoms, 3), np.nan)
        if item.label.forces is None
        else item.label.forces
        for item in items
    ]
    arrays["energy"] = np.array([item.label.energy for item in items], "<f8")
    arrays["forces"] = np.concatenate([*forces, np.zeros((0, 3))]).astype("<f8")
    arrays["stress"] = np.array(
        [np.full(6, np.nan) if i.label.stress is None else i.label.stress for i in items],
        "<f8",
    ).reshape(len(items), 6)
    arrays["label_id"] = np.array([item.label_id for item in items], "<i8")
    arrays["group"] = np.array([item.group for item in items], dtype=np.str_)
    arrays["source"] = np.array([item.source for item in items], dtype=np.str_)
    return write_arrays(arrays)


def unpack_dataset(content: bytes) -> list[LabelledStructure]:
    """The inverse of `pack_dataset`; label extras do not travel."""
    arrays = read_arrays(content)
    structures = _structures(arrays)
    ends = np.cumsum(arrays["n_atoms"])
    forces = np.split(arrays["forces"], ends[:-1]) if len(ends) else []
    return [
        LabelledStructure(
            structure,
            Label(
                float(arrays["energy"][k]),
                None if np.isnan(forces[k]).any() else forces[k],
                None if np.isnan(arrays["stress"][k]).any() else arrays["stress"][k],
            ),
            int(arrays["label_id"][k]),
            str(arrays["group"][k]),
            str(arrays["source"][k]),
        )
        for k, structure in enumerate(structures)
    ]


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
