"""`alflow export`: structures, models and metrics for other programs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from alflow.core.canonical import sha256_hex
from alflow.core.errors import SettingsError, closest

if TYPE_CHECKING:
    from ase import Atoms

    from alflow.core.batches import LabelledStructure
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
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path(
        "structures.extxyz"
    ),
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
    """Write labelled structures as extended XYZ: energies in eV, forces in eV/Å.

    Energies, forces and stresses are REF_energy, REF_forces and REF_stress, which ASE and
    trainers leave as they are.
    """
    if split is not None and split not in SPLITS:
        hint = closest(split, SPLITS)
        raise SettingsError(
            f"there is no split {split!r}" + (f"; did you mean {hint!r}?" if hint else ""),
            next_step=f"splits: {', '.join(SPLITS)}",
        )
    with reading(db, db_option) as store:
        name = level or str(store.campaign().config["label"]["primary"])
        images = [
            atoms_of(item, name, part)
            for part in ([split] if split else SPLITS)
            for item in store.labelled(part, name, generation=generation)
        ]
    if not images:
        raise SettingsError(
            f"there are no labelled structures to export at level {name!r}",
            consequence="Nothing was written.",
        )
    _write_extxyz(images, output)
    _tell(output, f"{len(images)} structures at level {name}")


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
        number = _last_generation(store) if generation is None else generation
        weights = store.weights(number)
        target = output or Path(f"{store.campaign().name}-g{number}.safetensors")
    with _replacing(target) as draft:
        draft.write_bytes(weights)
    _tell(target, f"generation g{number}")


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


def atoms_of(item: "LabelledStructure", level: str, split: str) -> "Atoms":
    """A labelled structure as ASE atoms that survive a round trip through extended XYZ."""
    from ase import Atoms

    structure, label = item.structure, item.label
    information: dict[str, Any] = {
        "REF_energy": label.energy,
        "alflow_hash": structure.hash,
        "level": level,
        "split": split,
        "config_type": item.source or "unknown",
        "group": item.group,
        "charge": structure.charge,
        "multiplicity": structure.multiplicity,
    }
    if label.stress is not None:
        information["REF_stress"] = label.stress
    atoms = Atoms(
        numbers=structure.numbers,
        positions=structure.positions,
        cell=structure.cell,
        pbc=structure.pbc,
        info=information,
    )
    if label.forces is not None:
        atoms.arrays["REF_forces"] = label.forces
    return atoms


def _write_extxyz(images: list["Atoms"], output: Path) -> None:
    from ase.io import write

    with _replacing(output) as draft:
        write(draft, images, format="extxyz")


def _last_generation(store: "Store") -> int:
    from alflow.store.views import status

    number = status(store).generation
    if number is None:
        raise SettingsError(
            "no generation is trained yet", consequence="Nothing was written."
        )
    return number


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A file beside the target that takes its place when it is whole."""
    draft = target.with_name(f".{target.name}.part")
    try:
        yield draft
        draft.replace(target)
    except OSError as error:
        raise SettingsError(
            f"cannot write {target}: {error.strerror}", code="AL103"
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _tell(target: Path, what: str) -> None:
    emit(f"{target}  {what}  sha256 {sha256_hex(target.read_bytes())}")
