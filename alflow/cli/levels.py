"""`alflow levels`: the levels of theory of a campaign."""

import typer

from alflow.cli import themes
from alflow.cli.database import DbArgument, DbOption, reading
from alflow.cli.inspection import tree
from alflow.cli.terminal import JsonFlag, emit, emit_json, talk


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.LOOK)(levels)


def levels(
    db: DbArgument = None, db_option: DbOption = None, *, as_json: JsonFlag = False
) -> None:
    """Tell each level of theory: its settings, its labels, their programs and time."""
    from alflow.store import levels as stored

    with reading(db, db_option) as store:
        found = stored.levels(store)
    if as_json:
        emit_json([level.to_json() for level in found])
        return
    if not found:
        talk("no levels of theory")
    for level in found:
        aside = f", {level.put_aside} put aside" if level.put_aside else ""
        waiting = f", {level.pending} pending" if level.pending else ""
        each = "" if level.core_s is None else f", {level.core_s:.3g} core-s each"
        emit(
            f"{level.name}  {level.digest[:12]}  {level.labels} labels{each}, "
            f"{level.failed} failed{aside}{waiting}"
        )
        for program, n in level.programs.items():
            emit(f"  {n} by {program}")
        emit("\n".join(tree("level", level.settings, "  ")))
