"""Reads tables of embedded-atom potentials in the setfl format of DYNAMO and LAMMPS.

Three lines of comment; a line with the number of elements and their symbols; a line with nrho,
drho, nr, dr and the cutoff; then, for each element, a line with atomic number, mass, lattice
constant and lattice, the embedding energy F(ρ) and the density ρ(r); last, for each pair of
elements, r·φ(r). In files of the Finnis-Sinclair kind (`.eam.fs`) an element has one density for
each element that it acts on. Units are eV and Å.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.core.filenames import near

Format = Literal["alloy", "fs"]
_N_COMMENTS = 3
_N_GRID = 5
_HEADER_WORDS = (2, 8)
"""Fewest and most words in the line before the tables of an element: the atomic number, mass,
lattice constant and lattice, of which some files lack the last and some have more."""
_FEWEST_POINTS = 6
"""Points of a table that slopes of fourth order need."""


@dataclass(frozen=True, eq=False, slots=True)
class EamTables:
    """An embedded-atom potential as it is tabulated.

    Attributes:
        symbols: Chemical symbols of its elements, in the order of the tables.
        drho: Spacing of the densities, which are in units of the potential's own.
        dr_A: Spacing of the distances [Å].
        cutoff_A: Distance from which on atoms do not see each other [Å].
        embedding: Embedding energy [eV] at densities 0, drho, ..., (elements, densities).
        density: Density that the first element brings to the second one at distances 0, dr, ...,
            (elements, elements, distances).
        pair: r·φ(r) [eV·Å] at distances 0, dr, ..., (elements, elements, distances).
    """

    symbols: tuple[str, ...]
    drho: float
    dr_A: float
    cutoff_A: float
    embedding: Float[np.ndarray, "elements densities"]
    density: Float[np.ndarray, "elements elements distances"]
    pair: Float[np.ndarray, "elements elements distances"]


def read_setfl(content: bytes, name: str) -> EamTables:
    """The tables of a setfl file; which of the two kinds it is, its size tells.

    Args:
        content: The file.
        name: Its name, for messages.

    Raises:
        SettingsError: If it is not such a file: with its name and the line.
    """
    words = _Words(content.decode("utf-8", errors="replace").splitlines(), name)
    symbols = _symbols(words)
    nrho, drho, nr, dr, cutoff = _grid(words)
    kind = _kind(words, len(symbols), nrho, nr)
    n = len(symbols)
    embedding, density = np.zeros((n, nrho)), np.zeros((n, n, nr))
    pair = np.zeros((n, n, nr))
    for i in range(n):
        words.skip_line()
        embedding[i] = words.numbers(nrho)
        if kind == "fs":
            density[i] = words.numbers(n * nr).reshape(n, nr)
        else:
            density[i] = words.numbers(nr)
    for i in range(n):
        for j in range(i + 1):
            pair[i, j] = pair[j, i] = words.numbers(nr)
    words.expect_end()
    return EamTables(symbols, drho, dr, cutoff, embedding, density, pair)


class _Words:
    """The words of a file behind its comments, taken in order; knows the line of each."""

    def __init__(self, lines: Sequence[str], name: str) -> None:
        self._name = name
        self._rows = [line.split() for line in lines]
        self._rows[:_N_COMMENTS] = [[] for _ in self._rows[:_N_COMMENTS]]
        self._words = [word for row in self._rows for word in row]
        self._ends = np.cumsum([len(row) for row in self._rows])
        self._at = 0

    @property
    def n_left(self) -> int:
        return len(self._words) - self._at

    def line(self, number: int) -> list[str]:
        """The words of a line by its number, counted from one, which are the next ones."""
        words = self._rows[number - 1] if number <= len(self._rows) else []
        self._at += len(words)
        return words

    def skip_line(self) -> None:
        """Go on with the line after that of the next word, which must be its first."""
        row = self._row_of(self._at)
        end = int(self._ends[row])
        if end - len(self._rows[row]) != self._at or self._at == len(self._words):
            text = "expected atomic number, mass and lattice of an element on a line of their own"
            raise self.error(row + 1, text)
        self._at = end

    def numbers(self, count: int) -> Float[np.ndarray, " numbers"]:
        """The next words as numbers."""
        words = self._words[self._at : self._at + count]
        if len(words) < count:
            raise self.error(None, f"the file ends {count - len(words)} numbers too early")
        try:
            values = np.array(words, dtype=np.float64)
        except ValueError:
            values = np.array([_number(word) for word in words])
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            place = self._at + int(bad[0])
            text = f"{self._words[place]!r} is not a finite number"
            raise self.error(self._row_of(place) + 1, text)
        self._at += count
        return values

    def expect_end(self) -> None:
        """Refuse words that belong to no table."""
        if self.n_left:
            line = self._row_of(self._at) + 1
            raise self.error(line, f"{self.n_left} words are left behind the last table")

    def error(self, line: int | None, text: str) -> SettingsError:
        """A mistake in a line, by default the last one."""
        where = f"{self._name}:{max(len(self._rows), 1) if line is None else line}"
        return SettingsError(
            f"{where}: {text}",
            code="AL103",
            next_step="alflow reads setfl files, as LAMMPS does for eam/alloy and eam/fs",
        )

    def _row_of(self, place: int) -> int:
        return min(int(np.searchsorted(self._ends, place, "right")), len(self._rows) - 1)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return np.nan


def _symbols(words: _Words) -> tuple[str, ...]:
    line = _N_COMMENTS + 1
    found = words.line(line)
    count, symbols = (found[0], tuple(found[1:])) if found else ("", ())
    if not count.isdecimal() or int(count) != len(symbols) or not symbols:
        text = (
            "expected the number of elements and as many symbols, "
            f"found {' '.join(found)[:60]!r}"
        )
        raise words.error(line, text)
    strange = [symbol for symbol in symbols if symbol not in SYMBOLS[1:]]
    if strange or len(set(symbols)) < len(symbols):
        what = f"{strange[0]!r} is no element" if strange else "an element is there twice"
        raise words.error(line, what)
    return symbols


def _grid(words: _Words) -> tuple[int, float, int, float, float]:
    line = _N_COMMENTS + 2
    found = words.line(line)
    values = [_number(word) for word in found]
    is_whole = len(found) == _N_GRID and found[0].isdecimal() and found[2].isdecimal()
    if not is_whole or not (np.isfinite(values).all() and min(values) > 0):
        text = (
            "expected nrho, drho, nr, dr and the cutoff, all positive, "
            f"found {' '.join(found)[:60]!r}"
        )
        raise words.error(line, text)
    nrho, drho, nr, dr, cutoff = values
    if min(nrho, nr) < _FEWEST_POINTS:
        raise words.error(line, f"a table of fewer than {_FEWEST_POINTS} points")
    # Many files end one step before the cutoff: the last values are zero anyway.
    if cutoff > (nr + 1) * dr:
        text = (
            f"the cutoff of {cutoff:g} Å lies beyond the tables, which end at {nr * dr:g} Å"
        )
        raise words.error(line, text)
    return int(nrho), drho, int(nr), dr, cutoff


def _kind(words: _Words, n: int, nrho: int, nr: int) -> Format:
    """Which kind of file has as many words as are left."""
    common = n * nrho + n * (n + 1) // 2 * nr
    sizes: dict[Format, int] = {"alloy": common + n * nr, "fs": common + n * n * nr}
    fewest, most = _HEADER_WORDS
    for kind, size in sizes.items():
        if size + n * fewest <= words.n_left <= size + n * most:
            return kind
    raise words.error(
        None,
        f"{words.n_left} words follow line {_N_COMMENTS + 2}; {n} element(s) with nrho = {nrho} "
        f"and nr = {nr} take {sizes['alloy']} numbers (eam/alloy) or {sizes['fs']} (eam/fs), "
        "and a line for each element",
    )


def content_of(path: Path) -> bytes:
    """Bytes of a file of tables.

    Raises:
        SettingsError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"cannot read {near(path)}: {error.strerror}",
            code="AL103",
            next_step="the path counts from the folder of the campaign file; workers read the "
            "file as well, so it must lie where they see it",
        ) from error
