"""`alflow models`: weights in and out, and what the generations of a campaign are."""

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alflow.cli import themes
from alflow.cli.database import DbArgument, DbOption, reading
from alflow.cli.export import last_generation, replacing, tell_written
from alflow.cli.generations import generation_number, is_generation
from alflow.cli.inspection import listed, tree
from alflow.cli.terminal import (
    CsvFlag,
    Format,
    JsonFlag,
    Listing,
    chosen_format,
    emit,
    emit_json,
    emit_listing,
    talk,
)
from alflow.core.errors import AlflowError, SettingsError

if TYPE_CHECKING:
    from alflow.store import Store

models_app = typer.Typer(no_args_is_help=True)

_ENDINGS = (".safetensors", ".pt", ".pth")
_TESTED = {
    "test_energy_rmse_eV_per_atom": "test RMSE E [eV/atom]",
    "test_force_rmse_eV_per_A": "test RMSE F [eV/Å]",
}
"""Metrics of the listing and how their columns are called there."""


class WeightsFormat(StrEnum):
    """What weights can be written as."""

    ALFLOW = "alflow"
    TORCHANI = "torchani"


Source = Annotated[
    str | None,
    typer.Argument(
        metavar="CAMPAIGN-or-FILE",
        help="Database, folder with one, or a file of weights. Default: as for other commands.",
        show_default=False,
    ),
]
Generation = Annotated[
    str | None,
    typer.Argument(
        metavar="gN", help="Generation. Default: the last one.", show_default=False
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.add_typer(models_app, name="models", rich_help_panel=themes.DATA)


@models_app.callback()
def group() -> None:
    """Weights of ensembles: from other programs, for other programs, and what they are."""


@models_app.command("import")
def import_(
    source: Annotated[
        Path,
        typer.Argument(
            help="NeuroChem folder, or a state dict of torchani as safetensors."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    *,
    activation: Annotated[
        str | None, typer.Option(help="torchani: celu, gelu or silu, if it is not known.")
    ] = None,
    cutoff_function: Annotated[
        str | None, typer.Option(help="torchani: cosine, if it is not known.")
    ] = None,
    radial_cutoff: Annotated[
        float | None, typer.Option(help="torchani: radial cutoff in Å, if it is not known.")
    ] = None,
    angular_cutoff: Annotated[
        float | None,
        typer.Option(help="torchani: angular cutoff in Å, if it is not known."),
    ] = None,
) -> None:
    """Make a file of weights of an ANI ensemble of another program.

    What the source is, is found out from its content. No pickle is opened: torch.save files are
    refused, with what to type instead.
    """
    from alflow.models.ani.foreign import read_foreign
    from alflow.models.ani.torchani_state import Unsaid

    said = Unsaid(activation, cutoff_function, radial_cutoff, angular_cutoff)
    ensemble = read_foreign(source, said)
    with replacing(output) as draft:
        draft.write_bytes(ensemble.to_bytes(ensemble.metadata))
    found = _described(output.read_bytes(), output)
    if ensemble.n_members == 1:
        talk("warning: one member has no spread; a campaign needs at least two")
    tell_written(
        output,
        f"{found['members']} members for {' '.join(found['elements'])} "
        f"from {ensemble.metadata['imported_from']}",
    )


@models_app.command()
def export(
    source: Source = None,
    generation: Generation = None,
    db_option: DbOption = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write. Default: NAME-gN.safetensors."),
    ] = None,
    weights_format: Annotated[
        WeightsFormat,
        typer.Option("--format", help="torchani: a state dict that torchani 2 loads."),
    ] = WeightsFormat.ALFLOW,
) -> None:
    """Write weights for use elsewhere, and print their checksum."""
    weights, name, _ = _weights(source, generation, db_option)
    if weights_format is WeightsFormat.TORCHANI:
        from alflow.models.ani.settings import AniSettings
        from alflow.models.ani.torchani_state import write_torchani

        weights = write_torchani(AniSettings.load(weights))
        name += "-torchani"
    target = output or Path(f"{name}.safetensors")
    with replacing(target) as draft:
        draft.write_bytes(weights)
    tell_written(target, f"{name} as {weights_format.value}")


@models_app.command("ls")
def list_models(
    db: DbArgument = None,
    db_option: DbOption = None,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """List the generations of a campaign: what they came from and how good they are."""
    from alflow.store.ancestry import generation_rows

    how = chosen_format(as_json=as_json, as_csv=as_csv)
    with reading(db, db_option) as store:
        rows = [
            {**row, "elements": _elements(store, row["generation"])}
            for row in generation_rows(store)
        ]
    if how is Format.JSON:
        emit_json(rows)
        return
    if not rows:
        talk("no generations")
        return
    columns = ["generation", "state", "members", "elements", "level", "parent", "relation"]
    columns += ["snapshot", "n_train", *_TESTED, "trained", "weights"]
    if how is Format.CSV:
        values = [[row.get(key) for key in columns] for row in rows]
        emit_listing(Listing(columns, values), how)
        return
    values = [[listed("generations", key, row.get(key)) for key in columns] for row in rows]
    emit_listing(Listing([_TESTED.get(key, key) for key in columns], values))


@models_app.command()
def show(
    source: Source = None,
    generation: Generation = None,
    db_option: DbOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell what is in a file of weights, or in a generation and where that came from."""
    weights, name, known = _weights(source, generation, db_option)
    found = {**_described(weights, name if known else str(source)), **known}
    if as_json:
        emit_json(found)
        return
    # A table shows four digits of a number; self energies need more.
    own = found.get("self_energies_eV", {})
    found["self_energies_eV"] = {key: f"{value:.6f}" for key, value in own.items()}
    emit("\n".join([f"model {name}", *tree("generation", found, "  ")]))


def _weights(
    source: str | None, generation: str | None, db_option: str | None
) -> tuple[bytes, str, dict[str, Any]]:
    """Weights that are meant, their name, and what a campaign knows about them."""
    if source is not None and generation is None and is_generation(source):
        source, generation = None, source
    if source is not None and source.endswith(_ENDINGS) and not Path(source).exists():
        raise SettingsError(f"there is no file {source}", code="AL103")
    if source is not None and _is_weights_file(Path(source)):
        if generation is not None:
            raise SettingsError(f"{source} is a file of weights: it has no {generation}")
        return Path(source).read_bytes(), Path(source).stem, {}
    with reading(source, db_option) as store:
        number = (
            last_generation(store) if generation is None else generation_number(generation)
        )
        return (
            store.weights(number),
            f"{store.campaign().name}-g{number}",
            _known(store, number),
        )


def _known(store: "Store", number: int) -> dict[str, Any]:
    """What the store knows about a generation beside its weights."""
    from alflow.store.ancestry import ancestors
    from alflow.store.lineage import show as look_up

    found = look_up(store, f"g{number}")
    keys = ("generation", "state", "iteration", "snapshot", "n_train", "trained", "metrics")
    return {
        **{key: found[key] for key in keys},
        "training": [
            {key: value for key, value in member.items() if value is not None}
            for member in found["members"]
        ],
        "lineage": [*ancestors(store, number), *_first_weights(found["architecture"])],
    }


def _first_weights(architecture: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The file that generation 0 was trained from, as the end of a lineage."""
    pretrained = architecture.get("pretrained")
    if not pretrained:
        return []
    return [{"file": Path(pretrained["file"]).name, "weights": pretrained["sha256"]}]


def _is_weights_file(path: Path) -> bool:
    from alflow.store.opening import is_store

    return path.is_file() and not is_store(path)


def _described(weights: bytes, what: Path | str) -> dict[str, Any]:
    from alflow.models.description import describe

    try:
        return describe(weights)
    except SettingsError as error:
        raise SettingsError(
            f"{what}: {error.message}", code=error.code, next_step=error.next_step
        ) from error


def _elements(store: "Store", generation: int) -> list[str] | None:
    """Elements of a generation, if it is trained, whole, and of a family that says so."""
    from alflow.models.headers import read_header

    try:
        header = read_header(store.weights(generation))
        ani: Mapping[str, Any] = json.loads(header.get("ani", "{}"))
    except (AlflowError, ValueError):
        return None
    return list(ani["elements"]) if "elements" in ani else None
