"""Names of files as messages tell them."""

from pathlib import Path

from alflow.core.errors import closest


def near(path: Path) -> str:
    """A path as a user here would type it: relative where it lies below the current folder."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def similar(path: Path, suffixes: tuple[str, ...] = ()) -> str:
    """The name of a file beside a missing one that is spelt most like it; empty if none is.

    Args:
        path: The file that is not there.
        suffixes: Which files could be meant; all if none are given.
    """
    if not path.parent.is_dir():
        return ""
    names = [
        entry.name
        for entry in path.parent.iterdir()
        if not suffixes or entry.suffix in suffixes
    ]
    match = closest(path.name, sorted(names))
    return str(path.with_name(match)) if match else ""
