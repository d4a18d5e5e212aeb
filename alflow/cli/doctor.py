"""`alflow doctor`: is this machine, and this folder, fit for a campaign?"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from alflow.cli import sitecheck, themes
from alflow.cli.sitecheck import FAIL, OK, WARN, Diagnosis
from alflow.cli.terminal import JsonFlag, Listing, complain, emit_json, emit_listing, talk
from alflow.core.errors import AlflowError, SettingsError

NEEDS_ATTENTION = 3
"""Exit code when something does not work."""

_LITTLE_MEMORY = 64_000_000


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.START)(doctor)


def doctor(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Folder to try out.")
    ] = Path(),
    site: Annotated[
        str | None,
        typer.Option(
            help="Also start the workers of a site (name, or path of a site file) and try them out."
        ),
    ] = None,
    *,
    patience: Annotated[
        float, typer.Option("--patience", min=1, help="Time for workers to answer [s].")
    ] = 300.0,
    program: Annotated[
        list[str] | None,
        typer.Option(
            "--program", help="A program that workers must find; may be repeated."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Try out whether this folder and this machine are fit; leaves nothing behind.

    With --site a tiny task runs on every pool: is the scheduler there, does it take the account and
    the partition, do workers have the same environment, GPUs, scratch space and programs. The
    folder must be one that workers see. That a job waits in the queue is no fault.

    Exit code 0: all is fit; 3: something does not work.
    """
    found = list(diagnoses(directory))
    if site is None:
        found.append(sitecheck.local())
    else:
        found += sitecheck.diagnoses(directory, site, patience, program or [])
    rows = [(one.state, one.subject, one.detail) for one in found]
    if as_json:
        emit_json([dict(zip(("state", "what", "found"), row, strict=True)) for row in rows])
    else:
        emit_listing(Listing(("", "what", "found"), rows))
    failed = [one.subject for one in found if one.state == FAIL]
    if failed:
        complain(f"Not fit for a campaign: {', '.join(failed)}. [AL210]")
        raise typer.Exit(NEEDS_ATTENTION)
    talk("Fit for a campaign.")


def diagnoses(directory: Path) -> Iterator[Diagnosis]:
    """What the table shows about the folder and this machine.

    Raises:
        SettingsError: If there is no such folder.
    """
    from alflow.store.probing import probe_folder

    if not directory.is_dir():
        raise SettingsError(f"there is no folder {directory}", code="AL103")
    try:
        for probe in probe_folder(directory):
            yield Diagnosis(probe.state, probe.subject, probe.detail)
    except AlflowError as error:
        yield Diagnosis(FAIL, "folder", error.message)
    yield from _packages()
    yield _threads()
    yield _shared_memory()
    yield _gpus()


def _packages() -> Iterator[Diagnosis]:
    from alflow.execution.machine import EXTRAS, versions

    needed, extras = versions()
    missing = [name for name, version in needed.items() if version is None]
    listed = ", ".join(f"{name} {version}" for name, version in needed.items() if version)
    detail = f"missing: {', '.join(missing)}; {listed}" if missing else listed
    yield Diagnosis(FAIL if missing else OK, "packages", detail)
    told = [
        f"{name} {version}" if version else f"{name} not installed (alflow[{EXTRAS[name]}])"
        for name, version in extras.items()
    ]
    yield Diagnosis(OK, "extras", ", ".join(told))


def _threads() -> Diagnosis:
    from alflow.execution.machine import asked_threads, usable_cores

    cores, threads = usable_cores(), asked_threads()
    told = f"{cores:g} usable cores of {os.cpu_count()}"
    if threads is None:
        return Diagnosis(OK, "threads", f"{told}; torch is told by the site")
    state = WARN if threads > cores else OK
    return Diagnosis(state, "threads", f"{told}; OMP_NUM_THREADS={threads}")


def _shared_memory() -> Diagnosis:
    from alflow.execution.machine import shared_memory

    free = shared_memory()
    if free is None:
        return Diagnosis(WARN, "shared memory", "cannot be written")
    state = WARN if free < _LITTLE_MEMORY else OK
    return Diagnosis(state, "shared memory", f"{free / 1e9:.2g} GB free")


def _gpus() -> Diagnosis:
    from alflow.execution.machine import gpus

    found = gpus()
    if found is None:
        return Diagnosis(WARN, "GPUs", "nvidia-smi is installed but does not answer")
    return Diagnosis(OK, "GPUs", f"{len(found)}: {'; '.join(found)}" if found else "none")
