"""Generations with what they came from, for `alflow models`."""

from typing import Any

from sqlalchemy import func, select

from alflow.store.listings import listing
from alflow.store.schema import ensemble, level_of_theory, model
from alflow.store.store import Store


def generation_rows(store: Store) -> list[dict[str, Any]]:
    """One row for each generation: what it is, what it came from, how good it is, and when."""
    parent = ensemble.alias("parent")
    members = (
        select(func.count())
        .select_from(model)
        .where(model.c.ensemble_id == ensemble.c.id)
        .scalar_subquery()
    )
    query = (
        select(
            ensemble.c.generation,
            members.label("members"),
            level_of_theory.c.name.label("level"),
            parent.c.generation.label("parent"),
        )
        .join(level_of_theory, level_of_theory.c.id == ensemble.c.lot_id)
        .outerjoin(parent, parent.c.id == ensemble.c.parent_id)
        .where(ensemble.c.role == "committee")
    )
    with store.read() as connection:
        origins = {row.generation: row for row in connection.execute(query)}
    return [_row(listed, origins[listed["generation"]]) for listed in _committees(store)]


def ancestors(store: Store, generation: int) -> list[dict[str, Any]]:
    """A generation, its parent, and so on to the first one: who came how from what."""
    rows = {row["generation"]: row for row in generation_rows(store)}
    keys = ("generation", "relation", "level", "n_train", "weights")
    found: list[dict[str, Any]] = []
    number: int | None = generation
    while number is not None:
        row = rows[number]
        found.append({key: row[key] for key in keys})
        number = row["parent"]
    return found


def _committees(store: Store) -> list[dict[str, Any]]:
    rows = {row["generation"]: row for row in listing(store, "generations")}
    return list(rows.values())


def _row(listed: dict[str, Any], origin: Any) -> dict[str, Any]:
    tested = {name: value for name, value in listed.items() if name.startswith("test_")}
    return {
        "generation": listed["generation"],
        "state": listed["state"],
        "members": origin.members or None,
        "level": origin.level,
        "parent": origin.parent,
        "relation": listed["relation"],
        "snapshot": listed["snapshot"],
        "n_train": listed["n_train"],
        **tested,
        "trained": listed["trained"],
        "weights": listed["weights"],
    }
