"""Labelled structures as flat arrays: all atoms of all structures in one row of arrays."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
from jaxtyping import Bool, Float, Int32, Int64, UInt8

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


@dataclass(frozen=True, eq=False, slots=True)
class Dataset(Sequence[LabelledStructure]):
    """Labelled structures in order, kept flat: an item is made when it is asked for.

    `torch.from_numpy(dataset.positions)` is a tensor of all positions; nothing is copied.

    Attributes:
        n_atoms: Number of atoms of each structure, (structures,).
        numbers: Atomic numbers, (atoms,).
        positions: Cartesian positions [Å], (atoms, 3).
        cells: Cell vectors as rows [Å], (structures, 3, 3); zero where nothing is periodic.
        pbc: Which cell vectors are periodic, (structures, 3).
        charge: Total charges [e], (structures,).
        multiplicity: Spin multiplicities, (structures,).
        energy: Energies [eV], (structures,).
        has_forces: Whether the label has forces, (structures,).
        forces: Forces [eV/Å], (atoms, 3); NaN where there are none.
        has_stress: Whether the label has a stress, (structures,).
        stress: Stresses [eV/Å³], Voigt, (structures, 6); NaN where there is none.
        label_id: Numbers of the labels in the store, (structures,).
        group_idx: Place in `groups` of the group of each structure, (structures,).
        source_idx: Place in `sources` of the source of each structure, (structures,).
        groups: Names of groups.
        sources: Names of sources.
        starts: First atom of each structure, (structures,).
    """

    n_atoms: Int64[np.ndarray, " structures"]
    numbers: UInt8[np.ndarray, " atoms"]
    positions: Float[np.ndarray, "atoms 3"]
    cells: Float[np.ndarray, "structures 3 3"]
    pbc: Bool[np.ndarray, "structures 3"]
    charge: Int64[np.ndarray, " structures"]
    multiplicity: Int64[np.ndarray, " structures"]
    energy: Float[np.ndarray, " structures"]
    has_forces: Bool[np.ndarray, " structures"]
    forces: Float[np.ndarray, "atoms 3"]
    has_stress: Bool[np.ndarray, " structures"]
    stress: Float[np.ndarray, "structures 6"]
    label_id: Int64[np.ndarray, " structures"]
    group_idx: Int32[np.ndarray, " structures"]
    source_idx: Int32[np.ndarray, " structures"]
    groups: tuple[str, ...]
    sources: tuple[str, ...]
    starts: Int64[np.ndarray, " structures"] = field(init=False)

    def __post_init__(self) -> None:
        """Check that the arrays belong together.

        Raises:
            SettingsError: If they do not.
        """
        n, total = len(self.n_atoms), int(self.n_atoms.sum())
        for name, shape in _SHAPES.items():
            expected = tuple(
                {"structures": n, "atoms": total}.get(str(d), d) for d in shape
            )
            found = getattr(self, name).shape
            if found != expected:
                raise SettingsError(
                    f"a dataset of {n} structures with {total} atoms has {name} of shape {found}",
                    code="AL110",
                )
        object.__setattr__(self, "starts", np.cumsum(self.n_atoms) - self.n_atoms)

    @classmethod
    def of(cls, items: Sequence[LabelledStructure]) -> "Dataset":
        """Flatten items, in order; a dataset is left as it is. Label extras are not kept."""
        if isinstance(items, cls):
            return items
        structures = [item.structure for item in items]
        labels = [item.label for item in items]
        n = len(items)
        groups, group_idx = numbered([item.group for item in items])
        sources, source_idx = numbered([item.source for item in items])
        return cls(
            n_atoms=np.array([s.n_atoms for s in structures], "<i8"),
            numbers=_joined([s.numbers for s in structures], np.zeros(0, "u1")),
            positions=_joined([s.positions for s in structures], np.zeros((0, 3))),
            cells=_stacked(
                [np.zeros((3, 3)) if s.cell is None else s.cell for s in structures],
                (n, 3, 3),
            ),
            pbc=np.array([s.pbc for s in structures], bool).reshape(n, 3),
            charge=np.array([s.charge for s in structures], "<i8"),
            multiplicity=np.array([s.multiplicity for s in structures], "<i8"),
            energy=np.array([label.energy for label in labels], "<f8"),
            has_forces=np.array([label.forces is not None for label in labels], bool),
            forces=_joined(
                [
                    np.full((s.n_atoms, 3), np.nan)
                    if label.forces is None
                    else label.forces
                    for s, label in zip(structures, labels, strict=True)
                ],
                np.zeros((0, 3)),
            ),
            has_stress=np.array([label.stress is not None for label in labels], bool),
            stress=_stacked(
                [
                    np.full(6, np.nan) if one.stress is None else one.stress
                    for one in labels
                ],
                (n, 6),
            ),
            label_id=np.array([item.label_id for item in items], "<i8"),
            group_idx=group_idx,
            source_idx=source_idx,
            groups=groups,
            sources=sources,
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Dataset":
        """The inverse of `arrays`.

        Raises:
            SettingsError: If these are not the arrays of a dataset.
        """
        try:
            groups, sources = _words(arrays["groups"]), _words(arrays["sources"])
            flat: dict[str, Any] = {name: arrays[name] for name in _SHAPES}
            return cls(**flat, groups=groups, sources=sources)
        except (KeyError, ValueError) as error:
            raise SettingsError(f"a dataset is damaged: {error}", code="AL110") from error

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain arrays by name; names as JSON text in UTF-8."""
        arrays = {name: getattr(self, name) for name in _SHAPES}
        for index, names in (("group_idx", "groups"), ("source_idx", "sources")):
            # In order of first use: part of a dataset must not remember the rest.
            used, arrays[index] = numbered(_looked_up(getattr(self, names), arrays[index]))
            arrays[names] = np.frombuffer(json.dumps(used).encode(), np.uint8)
        return arrays

    def __len__(self) -> int:
        """Number of structures."""
        return len(self.n_atoms)

    @overload
    def __getitem__(self, key: int) -> LabelledStructure: ...
    @overload
    def __getitem__(self, key: slice) -> "Dataset": ...
    def __getitem__(self, key: int | slice) -> "LabelledStructure | Dataset":
        """One item, or a part."""
        if isinstance(key, slice):
            return self.take(np.arange(len(self))[key])
        k = range(len(self))[key]
        label = Label(
            float(self.energy[k]),
            _frozen(self.forces[self._atoms(k)]) if self.has_forces[k] else None,
            _frozen(self.stress[k]) if self.has_stress[k] else None,
        )
        return LabelledStructure(
            self.structure(k),
            label,
            int(self.label_id[k]),
            self.groups[self.group_idx[k]],
            self.sources[self.source_idx[k]],
        )

    def __iter__(self) -> Iterator[LabelledStructure]:
        """All items, in order."""
        return (self[k] for k in range(len(self)))

    def structure(self, k: int) -> Structure:
        """The geometry of item `k`."""
        atoms, pbc = self._atoms(k), _frozen(self.pbc[k])
        return Structure.from_snapped(
            _frozen(self.numbers[atoms]),
            _frozen(self.positions[atoms]),
            _frozen(self.cells[k]) if pbc.any() else None,
            pbc,
            int(self.charge[k]),
            int(self.multiplicity[k]),
        )

    def group_names(self) -> list[str]:
        """Name of the group of each item."""
        return _looked_up(self.groups, self.group_idx)

    def take(self, idx: Sequence[int] | Int64[np.ndarray, " taken"]) -> "Dataset":
        """The items with these places, in this order."""
        chosen = np.asarray(idx, np.int64)
        sizes = self.n_atoms[chosen]
        ends = np.cumsum(sizes)
        total = int(sizes.sum())
        atoms = np.arange(total) + np.repeat(self.starts[chosen] - ends + sizes, sizes)
        parts = {
            name: getattr(self, name)[atoms if shape[0] == "atoms" else chosen]
            for name, shape in _SHAPES.items()
        }
        return Dataset(**parts, groups=self.groups, sources=self.sources)

    def _atoms(self, k: int) -> slice:
        start = int(self.starts[k])
        return slice(start, start + int(self.n_atoms[k]))


_SHAPES: Mapping[str, tuple[str | int, ...]] = {
    "n_atoms": ("structures",),
    "numbers": ("atoms",),
    "positions": ("atoms", 3),
    "cells": ("structures", 3, 3),
    "pbc": ("structures", 3),
    "charge": ("structures",),
    "multiplicity": ("structures",),
    "energy": ("structures",),
    "has_forces": ("structures",),
    "forces": ("atoms", 3),
    "has_stress": ("structures",),
    "stress": ("structures", 6),
    "label_id": ("structures",),
    "group_idx": ("structures",),
    "source_idx": ("structures",),
}


def numbered(words: Sequence[str]) -> tuple[tuple[str, ...], Int32[np.ndarray, " words"]]:
    """The different words in order of first use, and the place of each word among them."""
    place = {word: k for k, word in enumerate(dict.fromkeys(words))}
    return tuple(place), np.array([place[word] for word in words], "<i4")


def _looked_up(words: Sequence[str], idx: Int32[np.ndarray, " places"]) -> list[str]:
    return [words[k] for k in idx.tolist()]


def _words(text: UInt8[np.ndarray, " bytes"]) -> tuple[str, ...]:
    words = json.loads(text.tobytes())
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("names that are not a list of words")
    return tuple(words)


def _joined(parts: Sequence[np.ndarray], empty: np.ndarray) -> np.ndarray:
    joined: np.ndarray = np.concatenate([*parts, empty], dtype=empty.dtype)
    return joined


def _stacked(parts: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return np.array(parts, "<f8").reshape(shape)


def _frozen(view: np.ndarray) -> np.ndarray:
    view.setflags(write=False)
    return view
