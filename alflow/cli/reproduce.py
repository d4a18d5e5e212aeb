"""`alflow reproduce`: a generation once more, and whether it comes out the same."""

import tempfile
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alflow.cli import themes
from alflow.cli.database import DbArgument, DbOption, reading
from alflow.cli.generations import generation_number, is_generation
from alflow.cli.terminal import JsonFlag, Listing, emit, emit_json, emit_listing, talk
from alflow.core.errors import SettingsError

if TYPE_CHECKING:
    from alflow.loop.reproduce import Reproduction

DIFFERENT = 1
"""Exit code when a generation came out different by more than noise."""


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.RUN)(reproduce)


def reproduce(
    source: DbArgument = None,
    generation: Annotated[
        str | None,
        typer.Argument(
            metavar="gN", help="Generation, for example g3.", show_default=False
        ),
    ] = None,
    db_option: DbOption = None,
    *,
    energy_noise: Annotated[
        float, typer.Option(min=0, help="RMS difference that counts as noise, in meV/atom.")
    ] = 1.0,
    force_noise: Annotated[
        float, typer.Option(min=0, help="RMS difference that counts as noise, in meV/Å.")
    ] = 10.0,
    directory: Annotated[
        Path | None, typer.Option(help="An empty folder for its files, which are kept.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Train a generation once more from the database alone, and compare. Nothing is written there.

    Exit code 0: the weights are the same, bit by bit, or predict the same but for noise; 1: they
    came out different.
    """
    from alflow.loop.reproduce import reproduce as do_again

    if generation is None and source is not None and is_generation(source):
        source, generation = None, source
    if generation is None:
        raise SettingsError(
            "which generation is to be reproduced?",
            next_step=f"alflow reproduce {source or 'DB'} g0; alflow models ls lists them",
        )
    number = generation_number(generation)
    if directory is not None and directory.exists() and any(directory.iterdir()):
        raise SettingsError(f"the folder {directory} is not empty")
    place: Any = (
        tempfile.TemporaryDirectory(prefix="alflow-reproduce-")
        if directory is None
        else nullcontext(directory)
    )
    with place as folder, reading(source, db_option) as store:
        Path(folder).mkdir(parents=True, exist_ok=True)
        talk(f"training g{number} once more ...")
        done = do_again(store, number, Path(folder))
    is_same = done.is_reproduced(
        energy_noise=energy_noise / 1000, force_noise=force_noise / 1000
    )
    if as_json:
        emit_json({"reproduced": is_same, "equal": done.is_equal, **asdict(done)})
    else:
        _tell(
            done, is_same=is_same, noise=f"{energy_noise:g} meV/atom, {force_noise:g} meV/Å"
        )
    if not is_same:
        raise typer.Exit(DIFFERENT)


def _tell(done: "Reproduction", *, is_same: bool, noise: str) -> None:
    name = f"g{done.generation}"
    if done.failure:
        emit(f"{name} could not be trained again: {done.failure}")
    elif done.is_equal:
        emit(f"{name} came out the same, bit by bit: sha256 {done.stored_sha256}")
    else:
        verdict = "the same but for noise" if is_same else "different"
        emit(f"{name} came out {verdict} (noise: up to {noise})")
        emit(f"  weights      stored {done.stored_sha256}")
        emit(f"               now    {done.found_sha256}")
        _tell_differences(done)
    if done.surroundings:
        rows = [(key, *(str(v) for v in pair)) for key, pair in done.surroundings.items()]
        emit("Other than then:")
        emit_listing(Listing(("what", "then", "now"), rows))
    emit(f"Training took {done.wall_s:.1f} s.")


def _tell_differences(done: "Reproduction") -> None:
    far = done.predictions
    if far is not None:
        emit(
            f"  predictions  RMS difference on the {far.split} set ({far.n_structures} "
            f"structures): {1000 * far.energy_eV_per_atom:.3g} meV/atom, "
            f"{1000 * far.force_eV_per_A:.3g} meV/Å"
        )
    rows = []
    for pair in done.members:
        names = [key for key in pair.stored if key in pair.found]
        rows += [
            (pair.member, key, pair.stored[key], pair.found[key])
            for key in names
            if pair.stored[key] != pair.found[key]
        ]
    if rows:
        emit_listing(Listing(("member", "what", "stored", "now"), rows))
