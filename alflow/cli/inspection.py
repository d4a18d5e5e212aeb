"""`alflow ls` and `alflow show`: what is in a campaign, and where it came from."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from alflow.cli import themes
from alflow.cli.database import DbArgument, DbOption, existing_database, reading
from alflow.cli.moments import moment, utc
from alflow.cli.terminal import (
    CsvFlag,
    Format,
    JsonFlag,
    Listing,
    cell,
    chosen_format,
    emit,
    emit_json,
    emit_listing,
    talk,
)

_PREFIXES = {
    "structure": "s-",
    "parent": "s-",
    "start": "s-",
    "task": "t-",
    "label": "l-",
    "iteration": "i",
    "generation": "g",
    "sampled_with": "g",
    "snapshot": "d",
    "trajectory": "p-",
    "candidate": "c-",
    "superseded_by": "l-",
}
"""Name of a column or key to the prefix of the object that its number names."""
_OWN_PREFIX = {
    "labels": "l-",
    "structures": "s-",
    "tasks": "t-",
    "quarantine": "t-",
    "trajectories": "p-",
    "candidates": "c-",
    "trajectory": "p-",
    "path": "p-",
    "candidate": "c-",
    "structure": "s-",
    "task": "t-",
    "label": "l-",
}
_NUMBER_PREFIX = {"iterations": "i", "iteration": "i", "snapshot": "d"}
_MOMENTS = frozenset({"not_before", "started", "ended", "published", "trained", "created"})
_DIGESTS = frozenset({"hash", "snapshot", "weights", "digest", "content_sha"})
_SHORT_DIGEST = 12


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command("ls", rich_help_panel=themes.LOOK)(list_rows)
    app.command(rich_help_panel=themes.LOOK)(show)


def list_rows(
    what: Annotated[
        str,
        typer.Argument(
            help="iterations, generations, tasks, quarantine, attempts, structures, labels, "
            "failures, candidates or trajectories."
        ),
    ],
    db: DbArgument = None,
    db_option: DbOption = None,
    *,
    iteration: Annotated[int | None, typer.Option(help="Only of this iteration.")] = None,
    generation: Annotated[int | None, typer.Option(help="Only of this generation.")] = None,
    of: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Only what belongs to t-8, s-12, l-12, p-7, g3, ..."
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="Only of this kind: of task or failure, level, sampler, reason."),
    ] = None,
    state: Annotated[
        str | None, typer.Option(help="Only in this state, or with this decision or end.")
    ] = None,
    failure: Annotated[
        str | None, typer.Option(help="Only what failed like this: resource, crash, ...")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Only from this builder, sampler or file.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only train, val or test.")] = None,
    formula: Annotated[str | None, typer.Option(help="Only of this formula: H2O.")] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Only since then: 90m, 2h, 3d, or 2026-11-21[T07:40] in UTC."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many rows.")] = None,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """List what is in a campaign."""
    from alflow.core.naming import parse_name
    from alflow.store.listings import listing
    from alflow.store.narrowing import Filters

    wanted = Filters(
        iteration=iteration,
        generation=generation,
        of=None if of is None else parse_name(of),
        kind=kind,
        state=state,
        failure=failure,
        source=source,
        split=split,
        formula=formula,
        since=None if since is None else moment(since),
        limit=limit,
    )
    how = chosen_format(as_json=as_json, as_csv=as_csv)
    with reading(db, db_option) as store:
        rows = listing(store, what, wanted)
    if how is Format.JSON:
        emit_json(rows)
        return
    if not rows:
        talk(f"no {what}")
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if how is Format.CSV:
        values = [[row.get(key) for key in columns] for row in rows]
    else:
        values = [[listed(what, key, row.get(key)) for key in columns] for row in rows]
    emit_listing(Listing(columns, values), how)


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="s-12 (structure), l-12 (label), c-12 (candidate), p-12 (trajectory), t-88 "
            "(task), t-88#2 (its second attempt), g3, i2 or d3 (snapshot).",
        ),
    ],
    db: DbArgument = None,
    db_option: DbOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell everything about one object, how it came to be, and what came of it."""
    from alflow.store.lineage import show as look_up

    with reading(db, db_option) as store:
        found = look_up(store, name)
        if found["what"] in ("task", "attempt"):
            from alflow.loop.traces import add_traces

            add_traces(found, store, existing_database(db, db_option))
    if as_json:
        emit_json(found)
        return
    what = str(found.pop("what"))
    emit("\n".join([f"{what} {name}", *tree(what, in_lines(found), "  ")]))


def in_lines(value: Any) -> Any:
    """The same with what stands for many things in one line each."""
    if isinstance(value, list):
        return [in_lines(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    if "n" in value and value.keys() <= {"n", "first", "all"}:
        first = value.get("first", [])
        names = ", ".join(first) + (", ..." if len(first) < value["n"] else "")
        command = f"  ({value['all']})" if first and len(first) < value["n"] else ""
        return f"{value['n']}: {names}{command}" if first else value["n"]
    return {key: in_lines(one) for key, one in value.items()}


def told(what: str, key: str, value: Any) -> Any:
    """A value as it stands in a table: numbers of objects with their prefix, moments in UTC."""
    if not isinstance(value, int | float):
        return value
    if key in _MOMENTS:
        return utc(value)
    if key == "energy":
        return f"{value:.6f}"
    prefix = _PREFIXES.get(key, "")
    if key == "parent" and what.startswith("generation"):
        prefix = "g"
    if key == "id":
        prefix = _OWN_PREFIX.get(what, "")
    elif key == "number":
        prefix = _NUMBER_PREFIX.get(what, "")
    return f"{prefix}{value}" if prefix and isinstance(value, int) else value


def listed(what: str, key: str, value: Any) -> Any:
    """A value in a table of many rows, where a digest is known by its first digits."""
    is_digest = key in _DIGESTS and isinstance(value, str)
    return value[:_SHORT_DIGEST] if is_digest else told(what, key, value)


def tree(what: str, node: Mapping[str, Any], indent: str) -> Iterator[str]:
    """Lines of nested values, one level of indentation for each level of nesting."""
    node = {key: value for key, value in node.items() if value not in (None, [], {})}
    width = max(
        (len(key) for key, value in node.items() if not _is_nested(value)), default=0
    )
    for key, value in node.items():
        if not _is_nested(value):
            yield f"{indent}{key:<{width}}  {cell(told(what, key, value))}"
        elif isinstance(value, Mapping):
            yield f"{indent}{key}"
            yield from tree(key, value, indent + "  ")
        else:
            yield f"{indent}{key}"
            for entry in value:
                first, *rest = tree(key, entry, indent + "    ")
                yield f"{indent}  - {first.strip()}"
                yield from rest


def _is_nested(value: object) -> bool:
    """Whether a value gets lines of its own: a mapping, or a list of mappings."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(entry, Mapping) and entry for entry in value)
    return isinstance(value, Mapping) and bool(value)
