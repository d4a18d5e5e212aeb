"""`alflow export`: structures, models and metrics for other programs."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alflow.cli import themes
from alflow.cli.database import DbArgument, DbOption, reading
from alflow.cli.terminal import (
    JsonFlag,
    Listing,
    chosen_format,
    emit,
    emit_json,
    emit_listing,
)
from alflow.core.canonical import path_sha256
from alflow.core.errors import SettingsError, closest

if TYPE_CHECKING:
    from alflow.store import Store

SPLITS = ("train", "val", "test")

export_app = typer.Typer(
    help="Structures, models and metrics for other programs.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.add_typer(export_app, name="export", rich_help_panel=themes.DATA)


@export_app.callback()
def group() -> None:
    """Structures, models and metrics for other programs."""


@export_app.command()
def structures(
    db: DbArgument = None,
    db_option: DbOption = None,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File (for DeePMD folder) to write.")
    ] = Path("structures.extxyz"),
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="extxyz, ase-db, hdf5, deepmd or parquet. Default: by the name of the file.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Only train, val or test. Default: all.")
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="Level of theory. Default: the primary one.")
    ] = None,
    generation: Annotated[
        int | None, typer.Option(help="Only what this generation was trained on.")
    ] = None,
) -> None:
    """Write labelled structures for other programs: energies in eV, forces in eV/Å.

    Extended XYZ has them as REF_energy, REF_forces and REF_stress, which ASE and trainers leave
    as they are. All formats but that one keep every bit.
    """
    from alflow.store.interchange import ExportedFrame, format_for_writing

    if split is not None and split not in SPLITS:
        hint = closest(split, SPLITS)
        raise SettingsError(
            f"there is no split {split!r}" + (f"; did you mean {hint!r}?" if hint else ""),
            next_step=f"splits: {', '.join(SPLITS)}",
        )
    chosen = format_for_writing(output, file_format)
    with reading(db, db_option) as store:
        name = level or str(store.campaign().config["label"]["primary"])
        frames = [
            ExportedFrame(item, name, part)
            for part in ([split] if split else SPLITS)
            for item in store.labelled(part, name, generation=generation)
        ]
    if not frames:
        raise SettingsError(
            f"there are no labelled structures to export at level {name!r}",
            consequence="Nothing was written.",
        )
    with replacing(output) as draft:
        chosen.write(draft, frames)
    tell_written(output, f"{len(frames)} structures at level {name} as {chosen.name}")


@export_app.command()
def model(
    db: DbArgument = None,
    db_option: DbOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write. Default: NAME-gN.safetensors."),
    ] = None,
    generation: Annotated[
        int | None, typer.Option(help="Number of the generation. Default: the last one.")
    ] = None,
) -> None:
    """Write the weights of an ensemble as a safetensors file and print its checksum."""
    with reading(db, db_option) as store:
        number = last_generation(store) if generation is None else generation
        weights = store.weights(number)
        target = output or Path(f"{store.campaign().name}-g{number}.safetensors")
    with replacing(target) as draft:
        draft.write_bytes(weights)
    tell_written(target, f"generation g{number}")


@export_app.command()
def metrics(
    db: DbArgument = None, db_option: DbOption = None, as_json: JsonFlag = False
) -> None:
    """Print the metrics of every generation as CSV, or as JSON."""
    from alflow.store.listings import listing

    with reading(db, db_option) as store:
        rows = listing(store, "generations")
    if as_json:
        emit_json(rows)
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = [[row.get(key) for key in columns] for row in rows]
    emit_listing(Listing(columns, table), chosen_format(as_json=False, as_csv=True))


def last_generation(store: "Store") -> int:
    """Number of the last trained generation.

    Raises:
        SettingsError: If none is trained.
    """
    from alflow.store.views import status

    number = status(store).generation
    if number is None:
        raise SettingsError(
            "no generation is trained yet", consequence="Nothing was written."
        )
    return number


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A file or folder beside the target that takes its place when it is whole."""
    # The suffix stays: some writers go by it.
    draft = target.with_name(f".part-{os.getpid()}-{target.name}")
    try:
        _refuse_foreign(target)
        yield draft
        if draft.is_dir() and target.is_dir():
            shutil.rmtree(target)
        draft.replace(target)
    except OSError as error:
        raise SettingsError(
            f"cannot write {target}: {error.strerror or error}", code="AL103"
        ) from error
    finally:
        if draft.is_dir():
            shutil.rmtree(draft)
        draft.unlink(missing_ok=True)


def _refuse_foreign(target: Path) -> None:
    """Never put an export in place of a campaign's database or a folder of other things."""
    from alflow.store.opening import is_store

    if target.is_file() and is_store(target):
        raise SettingsError(
            f"{target} is a campaign's database", consequence="Nothing was written."
        )
    if target.is_dir() and any(
        not (child.is_dir() and (child / "type.raw").exists()) for child in target.iterdir()
    ):
        raise SettingsError(
            f"the folder {target} holds other things", code="AL103",
            consequence="Nothing was written.",
        )  # fmt: skip


def tell_written(target: Path, what: str) -> None:
    """Print what was written where, with its checksum."""
    emit(f"{target}  {what}  sha256 {path_sha256(target)}")
