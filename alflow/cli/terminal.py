"""Where output goes: data to stdout, talk to stderr."""

import csv
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

WIDE = 10_000
"""Width of tables that no person looks at directly: nothing is cut or wrapped."""

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CsvFlag = Annotated[bool, typer.Option("--csv", help="Print CSV.")]


class Format(StrEnum):
    """How a listing is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@dataclass
class Preferences:
    """What the global options ask for.

    Attributes:
        verbosity: -1 quiet, 0 normal, 1 and more: also log messages.
        color: Whether colour may be used on a terminal.
    """

    verbosity: int = 0
    color: bool = True


PREFERENCES = Preferences()
"""Preferences of this process; the global options set them."""


@dataclass(frozen=True)
class Listing:
    """Rows to print as a table, JSON or CSV.

    Attributes:
        columns: Names of the columns.
        rows: Values, one row each; None is shown as a dash.
        right: Columns that are aligned to the right.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    right: frozenset[str] = field(default_factory=frozenset)


def set_up(*, verbose: int, quiet: bool, color: bool) -> None:
    """Take over the global options."""
    PREFERENCES.verbosity = -1 if quiet else verbose
    PREFERENCES.color = color and not os.environ.get("NO_COLOR")
    levels = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("alflow")
    logger.handlers = [handler]
    logger.setLevel(levels.get(PREFERENCES.verbosity, logging.DEBUG))


def console(*, stderr: bool = False) -> Console:
    """A rich console on stdout or stderr that never guesses at markup."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else WIDE
    return Console(
        file=stream,
        no_color=not PREFERENCES.color,
        highlight=False,
        markup=False,
        emoji=False,
        width=width,
        soft_wrap=True,
    )


def talk(message: str) -> None:
    """Tell the user something on stderr, unless they asked for quiet."""
    if PREFERENCES.verbosity >= 0:
        complain(message)


def complain(message: str) -> None:
    """Tell the user something on stderr in any case."""
    print(message, file=sys.stderr)


def emit(text: str) -> None:
    """Print data on stdout."""
    print(text)


def emit_json(value: Any) -> None:
    """Print JSON on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False, default=str))


def chosen_format(*, as_json: bool, as_csv: bool) -> Format:
    """The format that the flags ask for.

    Raises:
        typer.BadParameter: If they ask for two.
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    return Format.JSON if as_json else Format.CSV if as_csv else Format.TABLE


def emit_listing(listing: Listing, how: Format = Format.TABLE) -> None:
    """Print rows on stdout."""
    if how is Format.JSON:
        emit_json([dict(zip(listing.columns, row, strict=True)) for row in listing.rows])
    elif how is Format.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(listing.columns)
        writer.writerows([["" if v is None else v for v in row] for row in listing.rows])
    else:
        _emit_table(listing)


def _emit_table(listing: Listing) -> None:
    if not sys.stdout.isatty():
        print("\n".join(plain_table(listing)))
        return
    table = RichTable(box=None, pad_edge=False, header_style="bold")
    for name in listing.columns:
        table.add_column(name, justify="right" if name in listing.right else "left")
    for row in listing.rows:
        table.add_row(*(Text(cell(value)) for value in row))
    console().print(table, soft_wrap=False)


def plain_table(listing: Listing) -> list[str]:
    """Lines of a table in which nothing is cut, for files and pipes."""
    rows = [
        list(listing.columns),
        *([cell(value) for value in row] for row in listing.rows),
    ]
    widths = [max(len(row[k]) for row in rows) for k in range(len(listing.columns))]
    lines = []
    for row in rows:
        parts = [
            text.rjust(width) if name in listing.right else text.ljust(width)
            for text, width, name in zip(row, widths, listing.columns, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    return lines


def cell(value: Any) -> str:
    """A value as it stands in a table."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return " ".join(str(value).split())
