"""`alflow db`: the database itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alflow.cli import themes
from alflow.cli.database import DbArgument, DbOption, reading
from alflow.cli.moments import utc
from alflow.cli.terminal import JsonFlag, Listing, emit_json, emit_listing, talk

if TYPE_CHECKING:
    from alflow.store import Store

db_app = typer.Typer(help="Look at the database itself.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.add_typer(db_app, name="db", rich_help_panel=themes.DATA)


@db_app.callback()
def group() -> None:
    """Look at the database itself."""


@db_app.command()
def info(
    db: DbArgument = None,
    db_option: DbOption = None,
    digest: Annotated[
        bool, typer.Option("--digest", help="Also compute the checksum of the content.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Schema, versions, campaign and size of a database."""
    with reading(db, db_option) as store:
        facts = _facts(store)
        if digest:
            facts["content digest"] = store.content_digest()
    if as_json:
        emit_json(facts)
    else:
        emit_listing(Listing(("what", "value"), list(facts.items())))


def _facts(store: "Store") -> dict[str, Any]:
    from alflow.store import migrations
    from alflow.store.history import overview
    from alflow.store.views import progress

    with store.read() as connection:
        revision = migrations.revision(connection)
        campaign = overview(connection)
    facts: dict[str, Any] = {
        "database": store.name,
        "store schema": revision,
        **_file(store.database.path),
    }
    if campaign is None:
        return facts
    view = progress(store)
    return {
        **facts,
        "written by alflow": campaign.alflow_version,
        "campaign": campaign.name,
        "campaign uuid": campaign.store_uuid,
        "state": campaign.state,
        "created": utc(campaign.created),
        "last change": utc(campaign.as_of),
        "iterations": len(view.iterations),
        "generations": len(view.generations),
        "labels": view.labels.get("ok", 0),
        "failed labels": view.labels.get("failed", 0),
    }


def _file(path: Path | None) -> dict[str, Any]:
    """Size and place of a database file; a database server has none."""
    from alflow.store.filesystem import network_filesystem

    if path is None:
        return {}
    kind = network_filesystem(path.resolve().parent)
    if kind is not None:
        talk(
            f"warning: {path} is on a network file system ({kind}), where SQLite is not safe"
        )
    return {"size": f"{path.stat().st_size / 1e6:.1f} MB", "file system": kind or "local"}
