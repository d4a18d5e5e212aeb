"""`alflow import`: labelled structures from other programs."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alflow.cli import themes
from alflow.cli.database import DbOption, find_database
from alflow.cli.terminal import JsonFlag, Listing, emit_json, emit_listing, talk
from alflow.core.canonical import canonical_json
from alflow.core.errors import SettingsError, closest

if TYPE_CHECKING:
    from alflow.config.campaign import CampaignSettings
    from alflow.loop.importing import CheckedFile, ImportTarget
    from alflow.store import ImportResult
    from alflow.store.interchange import Limits

SPLITS = ("train", "val", "test")
FORMATS = "extxyz, ase-db, hdf5, deepmd, parquet"
SHOWN = 20
"""Quarantined frames in the table on screen; the report file has all of them."""


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command("import", rich_help_panel=themes.DATA)(import_)


def import_(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE... [DB]",
            help="Files with labelled structures; a database of alflow among them is the target.",
            show_default=False,
        ),
    ],
    *,
    level: Annotated[
        str,
        typer.Option(help="Level of theory of the labels, by its name in the campaign."),
    ],
    db: DbOption = None,
    campaign: Annotated[
        Path | None,
        typer.Option(help="Campaign file: makes the campaign if it is not there yet."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="train, val or test. Default: what the file says, else train."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="Name of what all frames came from; a hold-out takes whole groups."
        ),
    ] = None,
    file_format: Annotated[
        str | None,
        typer.Option("--format", help=f"{FORMATS}. Default: told from the file."),
    ] = None,
    energy_unit: Annotated[
        str | None, typer.Option(help="Unit of energies in the files: eV, hartree, ...")
    ] = None,
    length_unit: Annotated[
        str | None, typer.Option(help="Unit of lengths in the files: angstrom, bohr, nm.")
    ] = None,
    force_unit: Annotated[
        str | None,
        typer.Option(help="Unit of forces: hartree/bohr, ... Default: energy over length."),
    ] = None,
    stress_unit: Annotated[
        str | None, typer.Option(help="Unit of stresses: eV/angstrom3, GPa, kbar.")
    ] = None,
    forces_are_gradient: Annotated[
        bool,
        typer.Option(
            "--forces-are-gradient", help="What is called forces is the gradient."
        ),
    ] = False,
    energy_key: Annotated[str | None, typer.Option(help="Name of the energies.")] = None,
    forces_key: Annotated[str | None, typer.Option(help="Name of the forces.")] = None,
    stress_key: Annotated[str | None, typer.Option(help="Name of the stresses.")] = None,
    file_level: Annotated[
        str | None,
        typer.Option(help="Level to read, by its name in a file that has several."),
    ] = None,
    max_force: Annotated[
        float, typer.Option(min=0, help="Largest force on an atom, in eV/Å.")
    ] = 100.0,
    energy_window: Annotated[
        float, typer.Option(min=0, help="How far from usual an energy may be, in eV/atom.")
    ] = 5.0,
    skip_check: Annotated[
        list[str] | None, typer.Option(help="Leave out a check, by its name; repeatable.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Import nothing if a frame is quarantined.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and compare; write nothing.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="File for the whole report, as JSON.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Import labelled structures into a campaign, after checking units, signs and numbers.

    A file with a mistake that runs through it (units, gradients instead of forces) is refused,
    with the options that mend it. Single frames with faults are listed and left out. Formats:
    extended XYZ, ASE database, ANI-style HDF5, DeePMD folder, Parquet.
    """
    from alflow.loop import importing
    from alflow.store.interchange import ReadOptions, parsed_units

    sources, database = _sorted(files)
    options = ReadOptions(
        file_format,
        parsed_units(energy_unit, length_unit, force_unit, stress_unit),
        forces_are_gradient,
        energy_key,
        forces_key,
        stress_key,
        file_level,
    )
    settings = _loaded(campaign)
    target = importing.ImportTarget(
        _database(settings, database, db), level, _checked_split(split), group, settings,
        str(campaign),
    )  # fmt: skip
    elements = importing.target_settings(target).system.elements
    limits = _limits(elements, max_force, energy_window, skip_check or [])
    checked = importing.check_files(sources, options, limits)
    results = _carried_out(target, checked, strict=strict, dry_run=dry_run)
    _tell(checked, results, dry_run=dry_run, as_json=as_json)
    if report is not None:
        _write_report(report, checked, results)
    _refuse(checked, strict=strict)


def _sorted(names: Sequence[str]) -> tuple[list[Path], str | None]:
    """Files to import, and the database among them, if any."""
    from alflow.store.opening import is_store

    databases = [name for name in names if "://" in name or is_store(Path(name))]
    if len(databases) > 1:
        raise SettingsError(f"two databases are named: {' and '.join(databases)}")
    files = [Path(name) for name in names if name not in databases]
    if not files:
        raise SettingsError(
            "there is no file to import",
            next_step="alflow import FILE... --level NAME --db DB",
        )
    return files, databases[0] if databases else None


def _loaded(campaign: Path | None) -> "CampaignSettings | None":
    if campaign is None:
        return None
    from alflow.config.loading import load_campaign

    return load_campaign(campaign)


def _database(
    settings: "CampaignSettings | None", argument: str | None, option: str | None
) -> str:
    if settings is not None and argument is None and option is None:
        return f"{settings.name}.db"
    return find_database(argument, option)


def _checked_split(split: str | None) -> str | None:
    if split is not None and split not in SPLITS:
        raise SettingsError(
            f"there is no split {split!r}", next_step=f"splits: {', '.join(SPLITS)}"
        )
    return split


def _limits(
    elements: Sequence[str], max_force: float, window: float, skipped: Sequence[str]
) -> "Limits":
    from alflow.store.interchange import SKIPPABLE, Limits

    for name in skipped:
        if name not in SKIPPABLE:
            hint = closest(name, SKIPPABLE)
            raise SettingsError(
                f"there is no check {name!r} that can be left out"
                + (f"; did you mean {hint!r}?" if hint else ""),
                next_step=f"checks: {', '.join(SKIPPABLE)}",
            )
    return Limits(
        frozenset(elements),
        max_force_eV_per_A=max_force,
        energy_window_eV=window,
        skipped=frozenset(skipped),
    )


def _carried_out(
    target: "ImportTarget",
    checked: Sequence["CheckedFile"],
    *,
    strict: bool,
    dry_run: bool,
) -> list["ImportResult | None"]:
    """What was written, or would be; nothing for files that are refused."""
    from alflow.loop.importing import import_files, preview_import

    if any(_is_refused(file, strict=strict) for file in checked):
        return [None] * len(checked)
    do = preview_import if dry_run else import_files
    return list(do(target, checked))


def _is_refused(file: "CheckedFile", *, strict: bool) -> bool:
    found = file.validation
    return bool(found.refusals or (strict and found.quarantined) or not found.accepted)


def _tell(
    checked: Sequence["CheckedFile"],
    results: Sequence["ImportResult | None"],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    if as_json:
        emit_json(_documents(checked, results))
        return
    columns = ("file", "format", "frames", "imported", "known", "repeated", "quarantined")
    rows = [_row(file, result) for file, result in zip(checked, results, strict=True)]
    emit_listing(Listing(columns, rows, frozenset(columns[2:])))
    for file, result in zip(checked, results, strict=True):
        _tell_file(file, result)
    if dry_run:
        talk("Nothing was written: --dry-run.")


def _row(file: "CheckedFile", result: "ImportResult | None") -> tuple[Any, ...]:
    found = file.validation
    conflicts = len(result.conflicts) if result else 0
    return (
        str(file.path),
        file.format,
        found.n_frames,
        result.n_labels if result else 0,
        result.n_known if result else 0,
        len(found.duplicates),
        len(found.quarantined) + conflicts,
    )


def _tell_file(file: "CheckedFile", result: "ImportResult | None") -> None:
    found = file.validation
    lines = [f"note: {note}" for note in found.notes]
    if found.forces is not None and found.forces.is_sound:
        test = found.forces
        lines.append(
            f"forces against energies: slope {test.slope:.3f}, correlation "
            f"{test.correlation:.3f}, {test.n_pairs} pairs of neighbouring frames"
        )
    lines += [f"quarantined by {name}: {n}" for name, n in found.counts().items()]
    lines += [
        f"  frame {one.index} {one.formula}: {one.message}"
        for one in found.quarantined[:SHOWN]
    ]
    if len(found.quarantined) > SHOWN:
        lines.append(f"  ... and {len(found.quarantined) - SHOWN} more; see --report FILE")
    if result and result.conflicts:
        places = ", ".join(str(place) for place in result.conflicts[:SHOWN])
        lines.append(
            f"{len(result.conflicts)} frames contradict labels in the database, which stay: "
            f"{places}"
        )
    if result and result.n_other_split:
        lines.append(f"{result.n_other_split} structures keep the split that they had")
    for line in lines:
        talk(f"{file.path.name}: {line}")


def _documents(
    checked: Sequence["CheckedFile"], results: Sequence["ImportResult | None"]
) -> list[dict[str, Any]]:
    return [
        {**file.to_json(), "result": None if result is None else asdict(result)}
        for file, result in zip(checked, results, strict=True)
    ]


def _write_report(
    path: Path,
    checked: Sequence["CheckedFile"],
    results: Sequence["ImportResult | None"],
) -> None:
    try:
        path.write_text(canonical_json(_documents(checked, results)), encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"cannot write {path}: {error.strerror}", code="AL103"
        ) from error


def _refuse(checked: Sequence["CheckedFile"], *, strict: bool) -> None:
    """Say why nothing was imported.

    Raises:
        SettingsError: If a file was refused.
    """
    lines: list[str] = []
    fixes: dict[str, None] = {}
    for file in checked:
        found = file.validation
        lines += [f"{file.path}: {one.message} ({one.check})" for one in found.refusals]
        if found.fix:
            fixes[found.fix] = None
        if not found.refusals and strict and found.quarantined:
            lines.append(f"{file.path}: {len(found.quarantined)} frames are quarantined")
        elif not found.refusals and not found.accepted:
            which = f"none of its {found.n_frames} frames can"
            if found.n_frames == 1:
                which = "its one frame cannot"
            lines.append(f"{file.path}: {which} be imported")
    if lines:
        fix = "\n".join(f"mend it with: {one}" for one in fixes) or _way_on(checked)
        raise SettingsError(
            "\n".join(lines),
            code="AL132",
            consequence="Nothing was imported.",
            next_step=fix,
        )


def _way_on(checked: Sequence["CheckedFile"]) -> str:
    """What to do about files whose frames all have faults of their own."""
    from alflow.store.interchange.screening import ENERGY

    if any(ENERGY in file.validation.counts() for file in checked):
        return "if the files have energies under another name: --energy-key NAME"
    return "all faults, frame by frame: --report FILE"
