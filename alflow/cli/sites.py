"""`alflow sites`: where campaigns can run."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alflow.cli import themes
from alflow.cli.terminal import (
    CsvFlag,
    JsonFlag,
    Listing,
    chosen_format,
    emit,
    emit_json,
    emit_listing,
    talk,
)
from alflow.core.errors import SiteError

if TYPE_CHECKING:
    from alflow.execution.sites import Pool, Site

sites_app = typer.Typer(help="Where campaigns can run.", no_args_is_help=True)

SiteArgument = Annotated[
    str, typer.Argument(metavar="SITE", help="Name of a site, or path of a site file.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.add_typer(sites_app, name="sites", rich_help_panel=themes.START)


@sites_app.callback()
def group() -> None:
    """Where campaigns can run."""


@sites_app.command("list")
def list_(as_json: JsonFlag = False, as_csv: CsvFlag = False) -> None:
    """List the sites that are found by name."""
    from alflow.execution.placeholders import placeholders, site_text
    from alflow.execution.sites import own_sites, site_files

    own = own_sites()
    rows = [
        (
            name,
            "yours" if path.parent == own else "alflow",
            len(placeholders(path)),
            site_text(path)[0],
        )
        for name, path in sorted(site_files().items())
    ]
    columns = ("site", "from", "to fill in", "what it is")
    how = chosen_format(as_json=as_json, as_csv=as_csv)
    emit_listing(Listing(columns, rows, frozenset({"to fill in"})), how)


@sites_app.command()
def show(
    site: SiteArgument,
    scripts: Annotated[
        bool, typer.Option("--scripts", help="Print what would be submitted, too.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show the pools of a site, which tasks they run, and what is to be filled in."""
    from alflow.execution.placeholders import placeholders, site_text
    from alflow.execution.sites import load_site, site_file

    path = site_file(site)
    loaded = load_site(site, is_draft=True)
    texts = _scripts(site) if scripts else {}
    missing = placeholders(path)
    columns = ("pool", "tasks", "workers", "threads")
    rows = [
        (pool.label, _tasks(loaded, pool), pool.workers, pool.threads)
        for pool in loaded.distinct_pools()
    ]
    if as_json:
        pools = [dict(zip(columns, row, strict=True)) for row in rows]
        filling = [asdict(one) for one in missing]
        told = {
            "site": loaded.name,
            "file": str(path),
            "pools": pools,
            "to fill in": filling,
        }
        emit_json({**told, "scripts": texts} if scripts else told)
        return
    emit("\n\n".join(filter(None, (f"{loaded.name}: {path}", *site_text(path)))) + "\n")
    emit_listing(Listing(columns, rows, frozenset(columns[2:])))
    for one in missing:
        emit(f"\n{path}:{one.line}: {one.word}: {one.meaning}")
    for label, text in texts.items():
        emit(f"\n----- pool {label}\n{text or 'no scheduler'}")


@sites_app.command()
def copy(
    site: SiteArgument,
    target: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Where to; by default among your own sites."),
    ] = None,
) -> None:
    """Copy a site file, to write into it what only you know."""
    from alflow.execution.placeholders import placeholders
    from alflow.execution.sites import own_sites, site_file

    source = site_file(site)
    path = target or own_sites() / source.name
    if path.exists():
        raise SiteError(f"{path} exists already", consequence="Nothing was written.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
    except OSError as error:
        raise SiteError(f"cannot write {path}: {error.strerror}", code="AL103") from error
    emit(str(path))
    for one in placeholders(path):
        talk(f"{path}:{one.line}: {one.word}: {one.meaning}")
    name = path.stem if target is None else path
    talk(f"Next: fill in what is missing, then alflow check campaign.yaml --site {name}")


def _tasks(site: "Site", pool: "Pool") -> str:
    kinds = [kind for kind, other in site.pools.items() if other is pool]
    return ", ".join("all others" if kind == "*" else kind for kind in kinds)


def _scripts(site: str) -> dict[str, str | None]:
    from alflow.execution.scripts import submit_script
    from alflow.execution.sites import load_site

    loaded = load_site(site, is_draft=True)
    return {pool.label: submit_script(pool) for pool in loaded.distinct_pools()}
