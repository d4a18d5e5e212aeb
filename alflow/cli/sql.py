"""`alflow sql`: a query of one's own."""

from typing import Annotated

import typer

from alflow.cli import themes
from alflow.cli.database import DbArgument, DbOption, reading
from alflow.cli.terminal import (
    CsvFlag,
    Format,
    JsonFlag,
    Listing,
    chosen_format,
    emit_listing,
    talk,
)


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.DATA)(sql)


def sql(
    query: Annotated[
        str, typer.Argument(metavar="SQL", help="One statement that reads, in quotes.")
    ],
    db: DbArgument = None,
    db_option: DbOption = None,
    *,
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds after which a query is given up.")
    ] = 60.0,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """Ask the database a question in SQL; it can only read. Bytes are shown as <72 bytes>."""
    from alflow.store.querying import query as run

    how = chosen_format(as_json=as_json, as_csv=as_csv)
    with reading(db, db_option) as store:
        found = run(store, query, timeout)
    emit_listing(Listing(found.columns, found.rows), how)
    if how is Format.TABLE:
        talk(f"{len(found.rows)} rows")
