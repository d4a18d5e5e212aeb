"""A data set in words: what lies beside exported structures, for whoever uses them later. Pure."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from alflow.core.datasets import LabelledStructure
from alflow.core.elements import SYMBOLS
from alflow.report.markdown import fenced, grid, text
from alflow.report.quantities import NONE, grouped, moment, significant
from alflow.report.render import outline

_FORMATS = {"extxyz": "extended XYZ: REF_energy, REF_forces and REF_stress of each frame"}


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """What is said of a data set.

    Attributes:
        campaign: Name of the campaign.
        created: When the campaign began [s since 1970, UTC].
        seed: Its seed.
        version: Version of alflow that exports.
        file: Name of the file or folder.
        file_format: How it is written.
        sha256: Checksum of the file.
        digest: Digest of all that the campaign found out.
        level: Name of the level of theory.
        level_digest: Digest of its settings.
        level_settings: Its settings (JSON-like).
        programs: Names and versions of the programs that computed labels of the level.
        generation: Only what this generation was trained on; None for all.
        items: Structures with labels, and the split of each.
    """

    campaign: str
    created: float
    seed: int
    version: str
    file: str
    file_format: str
    sha256: str
    digest: str
    level: str
    level_digest: str
    level_settings: Mapping[str, Any]
    programs: Sequence[str]
    generation: int | None = None
    items: Sequence[tuple[LabelledStructure, str]] = field(default_factory=tuple)


def render_card(card: DatasetCard) -> str:
    """The card as Markdown; the same data set gives the same text."""
    blocks = [
        f"# Data set of the campaign {text(card.campaign)}",
        _sentence(card),
        grid(("", ""), _facts(card)),
        "## Level of theory",
        fenced(outline(dict(card.level_settings))),
        f"Name {text(card.level)}, digest {card.level_digest}.",
        f"Computed by {', '.join(text(one) for one in card.programs) or NONE}.",
        "## What is in it",
        *_contents(card),
        "## Ranges",
        *_ranges(card),
        "Units: energies eV, forces eV/Å, stress eV/Å³ (tensile positive), lengths Å.",
        "## How to cite",
        fenced(_bibtex(card), "bibtex"),
    ]
    return "\n\n".join(blocks) + "\n"


def _sentence(card: DatasetCard) -> str:
    n_atoms = sum(item.structure.n_atoms for item, _ in card.items)
    which = (
        "all accepted labels of the campaign"
        if card.generation is None
        else f"the labels that generation g{card.generation} was trained on"
    )
    return (
        f"{grouped(len(card.items))} labelled structures with {grouped(n_atoms)} atoms: {which}, "
        "collected by active learning with alflow."
    )


def _facts(card: DatasetCard) -> list[tuple[str, str]]:
    return [
        ("file", card.file),
        ("format", _FORMATS.get(card.file_format, card.file_format)),
        ("SHA-256", card.sha256),
        ("campaign begun", moment(card.created)),
        ("seed", str(card.seed)),
        ("alflow", card.version),
        ("content digest of the campaign", card.digest),
    ]


def _contents(card: DatasetCard) -> Iterator[str]:
    def elements(item: LabelledStructure, _: str) -> list[str]:
        return [SYMBOLS[int(z)] for z in np.unique(item.structure.numbers)]

    yield _counted(card, "split", lambda _, split: [split])
    yield _counted(card, "source", lambda item, _: [item.source or "unknown"])
    yield _counted(card, "element", elements)


def _counted(
    card: DatasetCard, name: str, keys: Callable[[LabelledStructure, str], list[str]]
) -> str:
    """Structures and atoms by something that they are."""
    structures: Counter[str] = Counter()
    atoms: Counter[str] = Counter()
    for item, split in card.items:
        for key in keys(item, split):
            structures[key] += 1
            is_one = (
                item.structure.numbers == SYMBOLS.index(key)
                if name == "element"
                else np.ones(item.structure.n_atoms, bool)
            )
            atoms[key] += int(is_one.sum())
    rows = [(key, grouped(structures[key]), grouped(atoms[key])) for key in sorted(atoms)]
    return grid((name, "structures", "atoms"), rows, (True, False, False))


def _ranges(card: DatasetCard) -> Iterator[str]:
    labels = [item.label for item, _ in card.items]
    counts = [item.structure.n_atoms for item, _ in card.items]
    forces = [one.forces for one in labels if one.forces is not None]
    values: Mapping[str, Any] = {
        "energy, eV/atom": [one.energy / n for one, n in zip(labels, counts, strict=True)],
        "force on an atom, eV/Å": np.concatenate(
            [np.linalg.norm(one, axis=1) for one in forces] or [np.zeros(0)]
        ),
    }
    mean = significant(sum(counts) / max(1, len(counts)), 4)
    sizes = (str(min(counts, default=0)), mean, str(max(counts, default=0)))
    rows = [("atoms of a structure", *sizes)]
    rows += [(name, *_summary(np.asarray(found, float))) for name, found in values.items()]
    yield grid(("", "smallest", "mean", "largest"), rows, (True, False, False, False))
    n_stress = sum(one.stress is not None for one in labels)
    yield (
        f"Forces of {grouped(len(forces))}, stress of {grouped(n_stress)} structures. "
        "Energies are those of the level, without subtracting energies of atoms."
    )


def _summary(values: np.ndarray) -> tuple[str, str, str]:
    if not len(values):
        return NONE, NONE, NONE
    low, mean, high = (
        significant(float(one), 6) for one in (values.min(), values.mean(), values.max())
    )
    return low, mean, high


def _bibtex(card: DatasetCard) -> str:
    key = "".join(one if one.isalnum() else "_" for one in card.campaign)
    year = moment(card.created)[:4]
    fields = {
        "author": "FILL IN",
        "title": f"{{{card.campaign}}}: {len(card.items)} structures labelled at {card.level}",
        "year": year,
        "publisher": "FILL IN, for example Zenodo",
        "doi": "FILL IN",
        "note": f"Collected with alflow {card.version}; SHA-256 {card.sha256}",
    }
    lines = [f"  {name:<9} = {{{value}}}" for name, value in fields.items()]
    return f"@misc{{{key}_{year},\n" + ",\n".join(lines) + "\n}"
