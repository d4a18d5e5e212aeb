"""`alflow db`: the database itself."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alflow.cli import themes
from alflow.cli.database import (
    DbArgument,
    DbOption,
    existing_database,
    reading,
    warn_of_password,
    writing,
)
from alflow.cli.moments import utc
from alflow.cli.terminal import (
    JsonFlag,
    Listing,
    complain,
    emit,
    emit_json,
    emit_listing,
    talk,
)
from alflow.core.urls import without_secrets

if TYPE_CHECKING:
    from alflow.store import Store
    from alflow.store.checking import CheckResult
    from alflow.store.copying import Copied

NEEDS_ATTENTION = 3
"""Exit code of `db check` when something is wrong."""
_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_STEP = 1000

db_app = typer.Typer(help="Look after the database itself.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.add_typer(db_app, name="db", rich_help_panel=themes.DATA)


@db_app.callback()
def group() -> None:
    """Look after the database itself."""


@db_app.command()
def info(
    db: DbArgument = None,
    db_option: DbOption = None,
    digest: Annotated[
        bool, typer.Option("--digest", help="Also compute the checksum of the content.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Schema, versions, campaign, place and size of a database."""
    with reading(db, db_option) as store:
        facts = _facts(store)
        if digest:
            facts["content digest"] = store.content_digest()
    if as_json:
        emit_json(facts)
    else:
        emit_listing(Listing(("what", "value"), list(facts.items())))


@db_app.command()
def check(
    db: DbArgument = None,
    db_option: DbOption = None,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1, help="Re-hash only so many structures, labels and blobs, at random."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Is everything in it whole? Reads only. Exit code 0: yes; 3: something is wrong."""
    from alflow.store.checking import CheckState, check_store

    with reading(db, db_option) as store:
        name, results = store.name, list(check_store(store, sample))
    if as_json:
        emit_json([_as_json(result) for result in results])
    else:
        emit_listing(_checks(results))
    failed = [result.name for result in results if result.state is CheckState.FAIL]
    if failed:
        complain(f"{name} is not as it should be: {', '.join(failed)}. [AL322]")
        complain("Nothing was changed. alflow explain AL322  says what to do.")
        raise typer.Exit(NEEDS_ATTENTION)


@db_app.command()
def backup(
    db: DbArgument = None,
    db_option: DbOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="New file. Default: backups/NAME-TIME.db beside the database.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Copy a SQLite database while it is in use, with the large content beside it."""
    from alflow.store.backup import back_up

    with reading(db, db_option) as store:
        made = back_up(store, output)
    more = (
        f" and {made.n_files} files beside it ({size_in_words(made.file_bytes)})"
        if made.n_files
        else ""
    )
    size = size_in_words(made.size)
    emit(f"Backup: {made.path} ({size}){more}, checked, in {made.wall_s:.1f} s")
    talk(f"To restore it is to use it: alflow resume {shlex.quote(str(made.path))}")


@db_app.command()
def gc(
    db: DbArgument = None,
    db_option: DbOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and delete nothing.")
    ] = False,
    grace_hours: Annotated[
        float, typer.Option(min=0.0, help="Hours: what is younger is kept.")
    ] = 24.0,
    as_json: JsonFlag = False,
) -> None:
    """Delete what nothing refers to any more, and caches, which are made again."""
    from alflow.store.garbage import collect_garbage, find_garbage

    name = existing_database(db, db_option)
    with reading(name) if dry_run else writing(name) as store:
        act = find_garbage if dry_run else collect_garbage
        found = act(store, grace_s=grace_hours * 3600.0, directory=_directory(store, name))
    if as_json:
        emit_json(
            [{"kind": one.kind, "name": one.name, "bytes": one.size} for one in found]
        )
        return
    if found:
        rows = [(one.kind, one.name, one.size) for one in found]
        emit_listing(Listing(("kind", "name", "bytes"), rows, right=frozenset({"bytes"})))
    total = sum(one.size for one in found)
    verb = "would be deleted" if dry_run else "deleted"
    talk(f"{len(found)} things {verb}, {size_in_words(total)} ({total} bytes)")


@db_app.command()
def copy(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Database file or URL; it is only read.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="New file, or URL of an empty database.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Copy a whole campaign to another database, SQLite or PostgreSQL."""
    from alflow.store.copying import copy_store

    origin = existing_database(source)
    warn_of_password(target)
    done = copy_store(origin, target)
    if as_json:
        total = sum(done.rows.values())
        emit_json({"rows": done.rows, "total": total, "digest": done.digest})
        return
    emit(f"Copied {sum(done.rows.values())} rows: {done.source} → {done.target}")
    emit(f"Content digest of both: {done.digest}")
    _tell_what_to_move(done, origin, target)


@db_app.command()
def upgrade(db: DbArgument = None, db_option: DbOption = None) -> None:
    """Bring the schema of a database to that of this alflow; `resume` would do it, too."""
    from alflow.store.revisions import upgrade_store

    done = upgrade_store(existing_database(db, db_option))
    if done.before == done.after:
        emit(f"{done.name} has the newest schema, {done.after}")
    else:
        emit(f"{done.name}: schema {done.before} → {done.after}")


def size_in_words(n_bytes: int) -> str:
    """A number of bytes for people."""
    size = float(n_bytes)
    for unit in _UNITS[:-1]:
        if size < _STEP:
            return f"{size:.3g} {unit}"
        size /= _STEP
    return f"{size:.3g} {_UNITS[-1]}"


def _facts(store: "Store") -> dict[str, Any]:
    from alflow.store.facts import store_facts
    from alflow.store.history import overview
    from alflow.store.views import progress

    found = store_facts(store)
    with store.read() as connection:
        campaign = overview(connection)
    age = "" if found.revision == found.newest else f", the newest known is {found.newest}"
    facts: dict[str, Any] = {
        "database": store.name,
        "backend": found.backend,
        "store schema": found.revision + age,
        "size": size_in_words(found.size),
        "free inside": size_in_words(found.free),
        "page size": found.page_size,
    }
    if store.database.path is not None:
        facts["journal mode"] = found.journal_mode
        facts["file system"] = found.filesystem
        if "network" in found.filesystem:
            talk(f"warning: {store.name} is on {found.filesystem}")
    facts["rows"] = found.rows
    facts["integrity"] = "not looked at; alflow db check does"
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


def _checks(results: "list[CheckResult]") -> Listing:
    rows = [
        (
            result.state,
            result.name,
            result.n_checked,
            result.n_bad,
            ", ".join(result.first) + (", …" if result.n_bad > len(result.first) else ""),
            result.detail,
        )
        for result in results
    ]
    columns = ("", "check", "looked at", "bad", "first", "meaning")
    return Listing(columns, rows, right=frozenset({"looked at", "bad"}))


def _as_json(result: "CheckResult") -> dict[str, Any]:
    return {
        "check": result.name,
        "state": result.state,
        "looked_at": result.n_checked,
        "bad": result.n_bad,
        "first": list(result.first),
        "meaning": result.detail,
    }


def _directory(store: "Store", database: str) -> Path | None:
    """The campaign directory; None if there is no campaign."""
    from alflow.loop.campaign import campaign_directory

    campaign = store.campaign_or_none()
    if campaign is None:
        return None
    return campaign_directory(database, campaign.name, store)


def _tell_what_to_move(done: "Copied", source: str, target: str) -> None:
    """Where the files of the campaign are, and where the copy looks for them."""
    from alflow.loop.campaign import campaign_directory

    if not done.campaign:
        return
    with reading(source) as store:
        here = campaign_directory(source, done.campaign, store)
    with reading(target) as store:
        there = campaign_directory(target, done.campaign, store)
    if here != there and here.is_dir():
        names = " ".join(shlex.quote(str(path)) for path in (here, there))
        emit(f"To take results of running tasks along:  cp -a {names}")
        emit("Without it nothing stored is missing, but tasks that ran begin again.")
    emit(f"Go on there:  alflow resume {shlex.quote(without_secrets(target))}")
    if done.is_running:
        talk(
            "warning: a manager runs the source; what it does from now on is not in the copy. "
            "Stop it before you go on with the copy."
        )
