"""`alflow export`: structures, models and metrics for other programs."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alflow import __version__
from alflow.cli import themes
from alflow.cli.database import DbArgument, DbOption, reading
from alflow.cli.generations import generation_option
from alflow.cli.terminal import (
    JsonFlag,
    Listing,
    chosen_format,
    emit,
    emit_listing,
)
from alflow.core.canonical import path_sha256
from alflow.core.errors import SettingsError, closest

if TYPE_CHECKING:
    from alflow.core.datasets import LabelledStructure
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
        int | None, generation_option("Only what this generation was trained on.")
    ] = None,
    card: Annotated[
        bool,
        typer.Option("--card", help="Write a description beside it: NAME.README.md."),
    ] = False,
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
        if card:
            facts = _Exported(output, chosen.name, name, generation)
            _write_card(store, facts, [(one.item, one.split) for one in frames])


@dataclass(frozen=True, slots=True)
class _Exported:
    """What has been written.

    Attributes:
        path: Where.
        file_format: As what.
        level: At which level of theory.
        generation: Only what this generation was trained on; None for all.
    """

    path: Path
    file_format: str
    level: str
    generation: int | None


def _write_card(
    store: "Store", written: _Exported, items: "Sequence[tuple[LabelledStructure, str]]"
) -> None:
    """Describe an export in a file beside it."""
    from alflow.report.card import DatasetCard, render_card
    from alflow.store.levels import levels

    row = store.campaign()
    level = next(one for one in levels(store) if one.name == written.level)
    card = DatasetCard(
        campaign=row.name,
        created=row.created,
        seed=row.seed,
        version=__version__,
        file=written.path.name,
        file_format=written.file_format,
        sha256=path_sha256(written.path),
        digest=store.content_digest(),
        level=level.name,
        level_digest=level.digest,
        level_settings=level.settings,
        programs=sorted(level.programs),
        generation=written.generation,
        items=items,
    )
    target = written.path.with_name(f"{written.path.stem}.README.md")
    with replacing(target) as draft:
        draft.write_text(render_card(card), encoding="utf-8")
    tell_written(target, "description")


@export_app.command()
def model(
    db: DbArgument = None,
    db_option: DbOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write. Default: NAME-gN.safetensors."),
    ] = None,
    generation: Annotated[
        int | None, generation_option("The generation. Default: the last one.")
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
    db: DbArgument = None,
    db_option: DbOption = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write: .csv or .json. Default: print CSV."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Every number about every iteration, generation and member, one row for each (tidy).

    Columns: iteration, generation, member, split, name, value. One row for each generation
    instead: alflow ls generations --csv.
    """
    from alflow.store.metrics import Metric
    from alflow.store.metrics import metrics as known

    is_json = _is_json(output, as_json=as_json)
    with reading(db, db_option) as store:
        rows = known(store)
    listing = Listing(Metric._fields, rows)
    how = chosen_format(as_json=is_json, as_csv=not is_json)
    if output is None:
        emit_listing(listing, how)
        return
    with (
        replacing(output) as draft,
        draft.open("w", encoding="utf-8") as file,
        redirect_stdout(file),
    ):
        emit_listing(listing, how)
    tell_written(output, f"{len(rows)} numbers")


def _is_json(output: Path | None, *, as_json: bool) -> bool:
    suffix = "" if output is None else output.suffix.lower()
    if output is not None and suffix not in (".csv", ".json"):
        raise SettingsError(
            f"{output} is neither a .csv nor a .json file",
            consequence="Nothing was written.",
        )
    return as_json or suffix == ".json"


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
