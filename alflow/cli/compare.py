"""`alflow compare`: two generations side by side, of one campaign or of two."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from alflow.cli import themes
from alflow.cli.database import DbOption, existing_database, reading
from alflow.cli.terminal import (
    CsvFlag,
    Format,
    JsonFlag,
    Listing,
    cell,
    chosen_format,
    emit,
    emit_json,
    emit_listing,
    plain_table,
    talk,
)

if TYPE_CHECKING:
    from alflow.report.comparing import Comparison, Number
    from alflow.store.metrics import Account

_GENERATION = re.compile(r"g-?(\d{1,9})")
_PLACE = re.compile(r"(?P<database>.+):g-?(?P<generation>\d{1,9})")
_WIDEST = 60
"""Characters of a setting that are shown; --json has all."""


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.LOOK)(compare)


def compare(
    first: Annotated[
        str,
        typer.Argument(metavar="A", help="A generation (g3), a database, or a.db:g3."),
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="What to compare it with.")],
    db: DbOption = None,
    *,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """Put two generations side by side: errors, spread, sampling, cost, and settings that differ.

    A database stands for its newest generation. What cannot be compared has no change, and it is
    said why.
    """
    from alflow.report.comparing import CAVEAT
    from alflow.report.comparing import compare as put_together

    how = chosen_format(as_json=as_json, as_csv=as_csv)
    found = put_together(_account(first, db), _account(second, db))
    if how is Format.JSON:
        emit_json(found.to_json())
        return
    if how is Format.CSV:
        emit_listing(_exact(found), how)
    else:
        _emit(found)
        talk(f"note: {CAVEAT}")
    for obstacle in found.obstacles:
        talk(f"not comparable: {obstacle}")


def _account(name: str, db: str | None) -> "Account":
    from alflow.store.metrics import account

    database, generation = _place(name, db)
    with reading(database) as store:
        return account(store, generation)


def _place(name: str, db: str | None) -> tuple[str, int | None]:
    """The database and the generation that a name means."""
    if match := _GENERATION.fullmatch(name):
        return existing_database(db), int(match[1])
    if match := _PLACE.fullmatch(name):
        return existing_database(match["database"]), int(match["generation"])
    return existing_database(name), None


def _emit(found: "Comparison") -> None:
    titles = [_title(found.first), _title(found.second)]
    if titles[0] == titles[1]:
        titles = ["first", "second"]
    columns = ("", *titles, "change", "", "unit")
    rows = [_row(one) for one in found.numbers]
    right = frozenset({*titles, "change"})
    emit("\n".join(plain_table(Listing(columns, rows, right))))
    if not found.settings:
        emit("\nno setting differs")
        return
    emit("\nsettings that differ")
    settings = [
        (one.path, _short(one.first), "→", _short(one.second)) for one in found.settings
    ]
    emit("\n".join(plain_table(Listing(("", titles[0], "", titles[1]), settings))))


def _title(one: "Account") -> str:
    return f"{one.campaign}:g{one.generation}"


def _row(one: "Number") -> tuple[str, ...]:
    change = "" if one.change is None else f"{one.change:+.4g}"
    percent = "" if one.percent is None else f"({one.percent:+.1f} %)"
    if not one.is_comparable and None not in (one.first, one.second):
        change = "not comparable"
    values = (cell(one.first), cell(one.second))
    return (f"{one.group}: {one.name}", *values, change, percent, one.unit)


def _short(value: object) -> str:
    text = cell(value)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _exact(found: "Comparison") -> Listing:
    """Numbers and settings as one list."""
    columns = ("group", "name", "unit", "first", "second", "change", "comparable")
    numbers = [
        (
            *(one.group, one.name, one.unit, one.first, one.second, one.change),
            one.is_comparable,
        )
        for one in found.numbers
    ]
    settings = [
        ("setting", one.path, "", cell(one.first), cell(one.second), None, None)
        for one in found.settings
    ]
    return Listing(columns, [*numbers, *settings])
