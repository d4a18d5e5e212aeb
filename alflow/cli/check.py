"""`alflow check`: is this campaign ready to run on this machine?"""

import shlex
from dataclasses import dataclass
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alflow import registry
from alflow.cli import themes
from alflow.cli.database import new_database
from alflow.cli.terminal import JsonFlag, Listing, emit_json, emit_listing, talk
from alflow.config.campaign import CampaignSettings
from alflow.config.layout import plugin_sections
from alflow.config.loading import load_campaign
from alflow.config.problems import CampaignFileError, dotted
from alflow.config.resolution import resolved
from alflow.core.errors import AlflowError, SettingsError
from alflow.core.findings import Finding as Problem
from alflow.core.urls import without_secrets

if TYPE_CHECKING:
    from alflow.execution.sites import Site

PROGRAMS = {"pyscf": "pyscf", "tblite": "tblite", "ani": "torch"}
"""Python package that a plug-in needs, by the plug-in's name."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table.

    Attributes:
        subject: What was looked at.
        is_ok: Whether it is as it should be.
        detail: What was found.
        is_here: Whether it matters on this machine; otherwise it is a warning at most.
        code: Code of the error if it is not.
        next_step: What to do about it, where the detail does not say so.
    """

    subject: str
    is_ok: bool
    detail: str
    is_here: bool = True
    code: str = "AL201"
    next_step: str = ""

    @classmethod
    def of(cls, subject: str, error: AlflowError) -> "Finding":
        """What is not as it should be because of an error."""
        return cls(subject, False, error.message, True, error.code, error.next_step)

    @property
    def state(self) -> str:
        """How the table calls it."""
        return "ok" if self.is_ok else "FAIL" if self.is_here else "warning"


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.START)(check)


def check(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Campaign file.", show_default=False),
    ] = None,
    site: Annotated[
        str | None, typer.Option(help="Site: a name, or the path of a site file.")
    ] = None,
    db: Annotated[
        str | None,
        typer.Option(help="Database file or URL. Default: NAME.db here, as for run."),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of campaign files.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check a campaign file, its plug-ins, programs, site and database; start nothing."""
    if schema:
        from alflow.config.schema import json_schema

        emit_json(json_schema())
        return
    if file is None:
        raise typer.BadParameter("needs a campaign file")
    try:
        settings = load_campaign(file)
    except CampaignFileError as error:
        if as_json:
            emit_json([problem.to_json() for problem in error.problems])
            raise typer.Exit(error.exit_code) from error
        raise
    findings = look(settings, site, db, file)
    _tell(findings, as_json=as_json)
    _refuse(findings, str(file))
    chosen = {"--site": site, "--db": None if db is None else without_secrets(db)}
    options = [f" {name} {shlex.quote(value)}" for name, value in chosen.items() if value]
    talk(f"Ready. Next: alflow run {file}{''.join(options)}")


def require_programs(settings: CampaignSettings, site: "Site", file: str) -> None:
    """Refuse to start what could make no label here; the rest of the table is not looked at.

    Args:
        settings: Settings of the campaign.
        site: Where it is to run.
        file: The campaign file, as the user gave it.

    Raises:
        SettingsError: If a program is missing.
    """
    labels_here = site.pool_of("label").is_here
    _refuse(_plugins_and_programs(settings, labels_here=labels_here), file)


def _refuse(findings: list[Finding], file: str) -> None:
    failed = [one for one in findings if one.state == "FAIL"]
    if not failed:
        return
    subjects = ", ".join(dict.fromkeys(one.subject for one in failed))
    lines = [f"{file} cannot run here: {subjects}"]
    lines += [f"{one.subject}: {one.detail}" for one in failed]
    ways = dict.fromkeys(one.next_step for one in failed if one.next_step)
    raise SettingsError(
        "\n".join(lines),
        code=failed[0].code,
        consequence="Nothing was started.",
        next_step="\n".join(ways) or f"mend that, then: alflow check {file}",
    )


def look(
    settings: CampaignSettings, site: str | None, db: str | None, file: Path
) -> list[Finding]:
    """Everything that the table shows, worst news included."""
    findings = [Finding("settings", True, f"campaign {settings.name!r}, no problems")]
    findings += _plugins_and_programs(settings, labels_here=_labels_are_here(site))
    findings += _kernels()
    if site is not None:
        findings += _site(site)
    findings.append(_database(settings, db, file))
    findings.append(Finding("iteration 0", True, first_iteration(settings)))
    return findings


def _kernels() -> list[Finding]:
    """What the environment says about kernels, if it says anything."""
    from alflow.models.compiled import SWITCH, chosen_kind

    try:
        chosen = chosen_kind()
    except SettingsError as error:
        return [Finding.of("kernels", error)]
    return [Finding("kernels", True, f"{chosen}, by {SWITCH}")] if chosen else []


def first_iteration(settings: CampaignSettings) -> str:
    """What the first iteration will do, in numbers."""
    n_test = settings.test.count if settings.test is not None else 0
    n_labels = settings.loop.bootstrap + n_test
    size = settings.label.batch_size
    tasks = f" in {ceil(n_labels / size)} tasks" if size else ""
    members = getattr(settings.model, "members", None)
    ensemble = f"an ensemble of {members}" if members else "an ensemble"
    return (
        f"{n_labels} labels ({settings.loop.bootstrap} bootstrap, {n_test} test)"
        f"{tasks}, then training of {ensemble}"
    )


def _plugins_and_programs(
    settings: CampaignSettings, *, labels_here: bool
) -> list[Finding]:
    sections: dict[tuple[str, str], str] = {}
    findings, lacking = [], []
    programs: dict[str, tuple[str, bool]] = {}
    for path, mark, raw in plugin_sections(resolved(settings)):
        point, kind, place = mark.point, str(raw["kind"]), dotted(path)
        is_here = labels_here or point != "labelers"
        if (point, kind) not in sections:
            sections[point, kind] = place
            findings.append(Finding(place, True, f"{kind} from {_origin(point, kind)}"))
        if kind in PROGRAMS:
            programs.setdefault(PROGRAMS[kind], (kind, is_here))
        missing_here = getattr(mark.resolve(raw), "missing_here", tuple)
        lacking += [
            Finding(dotted((*path, *one.path)), False, _said(one), is_here)
            for one in missing_here()
        ]
    for program, (kind, is_here) in programs.items():
        is_there = find_spec(program) is not None
        detail = f"{'found' if is_there else 'not installed'}; {kind} needs it"
        findings.append(Finding(f"program {program}", is_there, detail, is_here))
    return findings + lacking


def _said(found: Problem) -> str:
    return f"{found.message}; {found.hint}" if found.hint else found.message


def _labels_are_here(site: str | None) -> bool:
    """Whether labels are made on this machine; so they are where no site says otherwise."""
    from alflow.execution.sites import load_site

    try:
        return site is None or load_site(site, is_draft=True).pool_of("label").is_here
    except AlflowError:
        return True


def _origin(point: str, kind: str) -> str:
    entry = registry.available(point).get(kind)
    return (
        f"{entry.dist.name} {entry.dist.version}"
        if entry and entry.dist
        else "this process"
    )


def _site(site: str) -> list[Finding]:
    from alflow.execution.placeholders import placeholders
    from alflow.execution.sites import load_site, missing_programs, site_file

    try:
        path = site_file(site)
        loaded = load_site(site, is_draft=True)
    except AlflowError as error:
        return [Finding.of("site", error)]
    missing = [
        f"{path}:{one.line}: {one.word}: {one.meaning}" for one in placeholders(path)
    ]
    if lacking := missing_programs(loaded):
        missing.append(lacking)
    if missing:
        return [Finding("site", False, one, code="AL200") for one in missing]
    pools = ", ".join(f"{pool.label}: {pool.workers}" for pool in loaded.distinct_pools())
    return [Finding("site", True, f"{loaded.name} (workers {pools})")]


def _database(settings: CampaignSettings, given: str | None, file: Path) -> Finding:
    """The state of the database that `alflow run` would use, if it is there."""
    database = new_database(given, settings.name)
    shown = without_secrets(database)
    if "://" not in database and not Path(database).exists():
        return Finding("database", True, f"{shown} does not exist yet; run makes it")
    from alflow.loop.campaign import check_unchanged
    from alflow.store.opening import is_blank

    try:
        if is_blank(database):
            return Finding("database", True, f"{shown} is empty yet; run fills it")
        state = check_unchanged(database, settings, str(file))
    except AlflowError as error:
        return Finding.of("database", error)
    return Finding("database", True, f"{shown}: {state}")


def _tell(findings: list[Finding], *, as_json: bool) -> None:
    rows: list[tuple[Any, ...]] = [
        (finding.state, finding.subject, finding.detail) for finding in findings
    ]
    short = [(*row[:2], row[2].partition("\n")[0]) for row in rows]
    listing = Listing(("", "what", "found"), short)
    if as_json:
        emit_json([dict(zip(("state", "what", "found"), row, strict=True)) for row in rows])
    else:
        emit_listing(listing)
