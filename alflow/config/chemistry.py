"""Which elements the builders of a campaign file name, as far as its text decides it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from alflow.config.problems import did_you_mean
from alflow.core.elements import SYMBOLS, atomic_number
from alflow.core.errors import closest
from alflow.core.findings import Finding

_SYMBOLS = frozenset(SYMBOLS[1:])
_SMILES_ATOM = re.compile(
    r"\[\d*([A-Z][a-z]?|[bcnops]|se|as)[^\]]*\]|(Cl|Br|[BCNOPSFI]|[bcnops])"
)
_FORMULA_PART = re.compile(r"([A-Z][a-z]?)(\d*)")
_FORMULA = re.compile(r"([A-Z][a-z]?\d*)+")

MOLECULES = ("molecules", "molecular_box")
"""Kinds of the builders whose molecules are looked up by name (`alflow.config.molecules`)."""

PathOf = tuple[str | int, ...]


def known_elements(data: Mapping[str, Any]) -> list[str]:
    """The chemical symbols in `system.elements` that are elements."""
    system = data.get("system")
    symbols = system.get("elements") if isinstance(system, Mapping) else None
    if not isinstance(symbols, list | tuple):
        return []
    texts = dict.fromkeys(symbol for symbol in symbols if isinstance(symbol, str))
    return [symbol for symbol in texts if symbol in _SYMBOLS]


def listed_elements(data: Mapping[str, Any]) -> list[str]:
    """The same, but empty if one is misspelt: others would then look as if they were missing."""
    system = data.get("system")
    symbols = system.get("elements") if isinstance(system, Mapping) else None
    if not isinstance(symbols, list | tuple):
        return []
    known = known_elements(data)
    return known if known == list(dict.fromkeys(map(str, symbols))) else []


def builders_of(data: Mapping[str, Any]) -> Iterator[tuple[PathOf, Mapping[str, Any]]]:
    """Path and content of each builder, those of the test set included."""
    for name in ("system", "test"):
        parent = data.get(name)
        entries = parent.get("builders") if isinstance(parent, Mapping) else None
        for index, entry in enumerate(entries if isinstance(entries, list | tuple) else ()):
            if isinstance(entry, Mapping):
                yield (name, "builders", index), entry


def element_findings(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Elements that a builder produces and `system.elements` does not have, or that are none."""
    known = listed_elements(data)
    for path, builder in builders_of(data):
        told: set[str] = set()
        for place, symbol in _symbols(builder, path):
            if symbol in told:
                continue
            told.add(symbol)
            if symbol not in _SYMBOLS:
                hint = did_you_mean(closest(symbol, _SYMBOLS))
                yield Finding(place, f"there is no element {symbol!r}", hint, "AL120")
            elif known and symbol not in known:
                listed = ", ".join(known)
                message = f"makes {symbol}, which is not in system.elements [{listed}]"
                yield Finding(place, message, f"add {symbol} there", "AL121")


def parity_findings(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Multiplicities that the number of electrons of a builder's formula does not allow."""
    for path, builder in builders_of(data):
        formula, multiplicity = builder.get("formula"), builder.get("multiplicity")
        charge = builder.get("charge", 0)
        if not (isinstance(formula, str) and _is_whole(multiplicity) and _is_whole(charge)):
            continue
        n_electrons = _electrons(formula, charge)
        if n_electrons is not None and (n_electrons + multiplicity) % 2 == 0:
            yield Finding(
                (*path, "multiplicity"),
                f"is {multiplicity}, but {formula} with charge {charge:+d} has {n_electrons} "
                "electrons",
                f"an {'odd' if n_electrons % 2 == 0 else 'even'} number is possible",
                "AL121",
            )


def _electrons(formula: str, charge: int) -> int | None:
    """Number of electrons, or None if the formula is not one of elements and counts."""
    if not _FORMULA.fullmatch(formula):
        return None
    parts = _FORMULA_PART.findall(formula)
    if any(symbol not in _SYMBOLS for symbol, _ in parts):
        return None
    return sum(atomic_number(symbol) * int(count or 1) for symbol, count in parts) - charge


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _symbols(builder: Mapping[str, Any], path: PathOf) -> Iterator[tuple[PathOf, str]]:
    """Every symbol that a builder names, with the place that names it."""
    for key in ("element", "elements", "symbols", "guests"):
        yield from texts(builder.get(key), (*path, key))
    composition = builder.get("composition")
    if isinstance(composition, Mapping):
        yield from (((*path, "composition", str(key)), str(key)) for key in composition)
    for place, text in texts(builder.get("formula"), (*path, "formula")):
        yield from ((place, symbol) for symbol, _ in _FORMULA_PART.findall(text))
    smiles = None if builder.get("kind") in MOLECULES else builder.get("smiles")
    for place, text in texts(smiles, (*path, "smiles")):
        yield from ((place, symbol) for symbol in smiles_symbols(text))


def texts(value: object, path: PathOf) -> Iterator[tuple[PathOf, str]]:
    """A text, or the texts in a list, each with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if isinstance(item, str):
                yield (*path, index), item


def smiles_symbols(smiles: str) -> list[str]:
    """The elements that a SMILES names; hydrogens that it only implies are not among them."""
    found = [bracket or plain for bracket, plain in _SMILES_ATOM.findall(smiles)]
    return list(dict.fromkeys(symbol.capitalize() for symbol in found))
