"""Whether the molecules and files that builders name exist and fit the system."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from alflow.config.chemistry import MOLECULES, PathOf, builders_of, listed_elements, texts
from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.core.findings import Finding
from alflow.core.structures import Structure


def molecule_findings(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Molecules that are unknown, or have an element that `system.elements` does not have."""
    from alflow.builders.species import by_name, by_smiles

    for path, builder in builders_of(data):
        if builder.get("kind") not in MOLECULES:
            continue
        for place, text in texts(builder.get("smiles"), (*path, "smiles")):
            yield from _molecule(place, text, by_smiles, listed_elements(data))
        for place, text in texts(builder.get("names"), (*path, "names")):
            yield from _molecule(place, text, by_name, listed_elements(data))


def file_findings(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Files of builders that are not there."""
    for path, builder in builders_of(data):
        for key in ("path", "files"):
            for place, text in texts(builder.get(key), (*path, key)):
                if not Path(text).exists():
                    message = f"there is no file {text!r}"
                    hint = "a relative path starts at the folder where alflow is called"
                    yield Finding(place, message, hint, "AL103")


def _molecule(
    path: PathOf, text: str, find: Callable[[str], Structure], known: list[str]
) -> Iterator[Finding]:
    try:
        molecule = find(text)
    except SettingsError as error:
        message, _, hint = error.message.partition("; ")
        yield Finding(path, message, hint or error.next_step)
        return
    symbols = [SYMBOLS[number] for number in sorted(set(molecule.numbers.tolist()))]
    missing = [symbol for symbol in symbols if symbol not in known]
    if known and missing:
        names = ", ".join(missing)
        message = (
            f"is {molecule.formula}; {names} is not in system.elements [{', '.join(known)}]"
        )
        yield Finding(path, message, f"add {names} there", "AL121")
