"""Whether structures that a user gives in a file can be used, before a worker builds with them."""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from alflow.builders.atoms import read_frames, structure_of
from alflow.builders.plausible import impossible_spin, overlap
from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.core.findings import Finding
from alflow.core.structures import Structure

LARGEST_BYTES = 20_000_000
"""A larger file is not looked into here; the worker that builds with it does."""
MOST_PAIRS = 1_000_000
"""Pairs of atoms whose distances are looked at, over all frames of a file."""

Place = tuple[str | int, ...]


def frame_findings(
    place: Place,
    path: Path,
    elements: Sequence[str],
    *,
    frames: str = ":",
    file_format: str | None = None,
    override: str | None = "",
) -> Iterator[Finding]:
    """What is wrong with the frames of a file: of each kind of fault the first.

    Args:
        place: Path of the setting that names the file.
        path: The file; one that is not there is told elsewhere.
        elements: Chemical symbols of the campaign.
        frames: Which frames, as a Python slice.
        file_format: Format by its name in ASE, or None to have it guessed.
        override: Name of the setting that lets overlapping atoms pass, or empty if there is
            none; None where they are wanted.
    """
    if not path.is_file() or path.stat().st_size > LARGEST_BYTES:
        return
    try:
        found = read_frames(path, frames=frames, file_format=file_format)
    except SettingsError as error:
        yield Finding(place, error.message, error.next_step, error.code)
        return
    close_hint = "mend the file" + (f"; to override: {override}: true" if override else "")
    told: set[str] = set()
    n_pairs = 0
    for number, atoms in zip(count(1), found, strict=False):
        try:
            frame = structure_of(atoms)
        except (SettingsError, ValueError, TypeError) as error:
            yield Finding(place, f"frame {number}: {error}", "mend the file", "AL110")
            return
        n_pairs += frame.n_atoms**2
        faults = list(_faults(frame, elements))
        if override is not None and n_pairs <= MOST_PAIRS:
            close = overlap(frame.numbers, frame.positions, frame.cell, frame.pbc)
            faults += [(close, close_hint)] if close else []
        for message, hint in faults:
            if hint not in told:
                told.add(hint)
                said = f"frame {number}, {frame.formula}: {message}"
                yield Finding(place, said, hint, "AL121")


def _faults(frame: Structure, elements: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Message and way out of what is wrong with the atoms and electrons of a frame."""
    symbols = [SYMBOLS[number] for number in sorted(set(frame.numbers.tolist()))]
    missing = ", ".join(symbol for symbol in symbols if symbol not in elements)
    if missing:
        listed = ", ".join(elements)
        yield f"{missing} is not in system.elements [{listed}]", f"add {missing} there"
    if frame.is_periodic:  # moments of solids are no multiplicities
        return
    if odd := impossible_spin(frame.numbers, frame.charge, frame.multiplicity):
        yield odd, "write 'multiplicity=' and 'charge=' that fit into the file"
