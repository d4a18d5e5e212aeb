"""`alflow init`: a folder with a commented campaign file to start from."""

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer

from alflow.cli import themes
from alflow.cli.terminal import Listing, emit_listing, talk
from alflow.config.shipped import description, shipped_folder, template, templates
from alflow.core.errors import SettingsError

SCHEMA_FILE = "campaign.schema.json"
MODELINE = f"# yaml-language-server: $schema={SCHEMA_FILE}\n"
"""First line of a campaign file by which an editor finds the schema and completes keys."""
SITE_FILE = "site.py"
"""Name of the site file of a new campaign."""
FIRST_SITE = "local"
"""Site file that a new campaign gets a copy of, if it ships."""


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.START)(init)


def init(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Folder to make or to fill.")
    ] = None,
    template_name: Annotated[
        str | None, typer.Option("--template", "-t", help="Which campaign to start from.")
    ] = None,
    site_from_slurm: Annotated[
        bool,
        typer.Option(
            "--site-from-slurm", help="Ask Slurm what it has, and write DIR/site.py."
        ),
    ] = False,
    list_templates: Annotated[
        bool, typer.Option("--list", help="List the templates and make nothing.")
    ] = False,
) -> None:
    """Make a folder with a commented campaign file, and say what to type next."""
    if list_templates:
        rows = [(name, description(path)) for name, path in templates().items()]
        emit_listing(Listing(("template", "what it is"), rows))
        return
    if site_from_slurm and template_name is None:
        _write_site(folder or Path(), _asked_slurm())
        return
    if folder is None or template_name is None:
        raise typer.BadParameter(
            "needs DIR and --template NAME; --list shows the templates"
        )
    site = _asked_slurm() if site_from_slurm else None
    _copy(template(template_name), folder)
    if site is not None:
        (folder / SITE_FILE).unlink(missing_ok=True)
        _write_site(folder, site)
    talk(f"Made {folder / 'campaign.yaml'} from template {template_name!r}. Next:")
    talk(f"  cd {folder} && alflow check campaign.yaml")
    talk("  alflow run campaign.yaml")


def _asked_slurm() -> str:
    from alflow.execution.discovery import site_from_slurm

    return site_from_slurm()


def _write_site(folder: Path, text: str) -> None:
    from alflow.execution.placeholders import placeholders

    path = folder / SITE_FILE
    if path.exists():
        raise SettingsError(
            f"{path} exists already", code="AL103", consequence="Nothing was written."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"cannot write {path}: {error.strerror}", code="AL103"
        ) from error
    talk(f"Made {path}; look through it, then use it with --site {path}")
    for one in placeholders(path):
        talk(f"  {path}:{one.line}: {one.word}: {one.meaning}")


def _copy(source: Path, folder: Path) -> None:
    target = folder / "campaign.yaml"
    if target.exists():
        raise SettingsError(
            f"{target} exists already",
            code="AL103",
            consequence="Nothing was written.",
            next_step="choose another folder",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for entry in sorted(source.iterdir()):
            if entry.is_file() and not entry.name.startswith("."):
                shutil.copyfile(entry, folder / entry.name)
        _complete(folder, target)
    except OSError as error:
        raise SettingsError(
            f"cannot write to {folder}: {error.strerror}", code="AL103"
        ) from error


def _complete(folder: Path, campaign: Path) -> None:
    """Add the schema, the line that names it, and a site file to edit."""
    from alflow.config.schema import json_schema

    text = campaign.read_text(encoding="utf-8")
    if not text.startswith(MODELINE):
        campaign.write_text(MODELINE + text, encoding="utf-8")
    schema = json.dumps(json_schema(), indent=1, ensure_ascii=False)
    (folder / SCHEMA_FILE).write_text(schema + "\n", encoding="utf-8")
    site = shipped_folder("site_configs") / f"{FIRST_SITE}.py"
    if site.is_file():
        shutil.copyfile(site, folder / SITE_FILE)
