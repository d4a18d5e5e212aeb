"""Everything about tasks, attempts, generations, iterations and snapshots."""

from sqlalchemy import ColumnElement, Connection, func, select

from alflow.core.naming import ObjectName
from alflow.store.codec import from_json_text, hashes_from
from alflow.store.descent import Found, linked, many, one
from alflow.store.schema import (
    attempt,
    candidate,
    ensemble,
    ensemble_metric,
    environment,
    iteration,
    iteration_stat,
    label,
    label_item,
    level_of_theory,
    material_property,
    metric,
    model,
    snapshot,
    task,
    trajectory,
)


def task_of(connection: Connection, number: int) -> Found | None:
    """A task: its specification, its attempts, its labels by state, what a suite found."""
    query = (
        select(
            task.c.id,
            task.c.kind,
            task.c.key,
            task.c.state,
            iteration.c.number.label("iteration"),
            task.c.priority,
            task.c.charged,
            task.c.published,
            task.c.ended,
            task.c.spec_json,
            task.c.item_hashes,
            task.c.outcome_json,
        )
        .join(iteration, iteration.c.id == task.c.iteration_id)
        .where(task.c.id == number)
    )
    found = one(connection, query)
    if found is None:
        return None
    items = hashes_from(found.pop("item_hashes"))
    found["spec"] = {**from_json_text(found.pop("spec_json")), "items": list(items)}
    found["outcome"] = from_json_text(found.pop("outcome_json"))
    return {
        **found,
        "attempts": _attempts(connection, number),
        "labels": _counts(connection, number),
        "properties": _properties(connection, material_property.c.task_id == number),
    }


def attempt_of(connection: Connection, task_id: int, number: int) -> Found | None:
    """An attempt: its task, where and how it ran, how it ended, what of its results counts."""
    rows = [row for row in _attempts(connection, task_id) if row["number"] == number]
    query = select(task.c.id, task.c.kind, task.c.key, task.c.state, task.c.attempts).where(
        task.c.id == task_id
    )
    if not rows:
        return None
    (about,) = many(connection, query)
    attempt_id = (
        select(attempt.c.id)
        .where(attempt.c.task_id == task_id, attempt.c.no == number)
        .scalar_subquery()
    )
    made = {
        what: connection.scalar(
            select(func.count()).where(table.c.attempt_id == attempt_id)
        )
        for what, table in (("labels", label), ("trajectories", trajectory))
    }
    return {
        "task": about["id"],
        "number": number,
        "of": about["attempts"],
        "kind": about["kind"],
        "key": about["key"],
        "task_state": about["state"],
        **rows[0],
        "led_to": {what: {"n": n} for what, n in made.items() if n},
        "logs": f"alflow logs t-{task_id}#{number}",
    }


def _properties(connection: Connection, which: ColumnElement[bool]) -> list[Found]:
    """What validation suites found: of a task, or of a generation."""
    query = (
        select(
            material_property.c.task_id.label("task"),
            material_property.c.suite,
            material_property.c.name,
            material_property.c.value,
            material_property.c.unit,
            ensemble.c.generation,
            level_of_theory.c.name.label("level"),
        )
        .outerjoin(ensemble, ensemble.c.id == material_property.c.ensemble_id)
        .outerjoin(level_of_theory, level_of_theory.c.id == material_property.c.lot_id)
        .where(which)
        .order_by(material_property.c.task_id, material_property.c.name)
    )
    return many(connection, query)


def _attempts(connection: Connection, task_id: int) -> list[Found]:
    query = (
        select(
            attempt.c.no.label("number"),
            attempt.c.token,
            attempt.c.state,
            attempt.c.epoch,
            attempt.c.host,
            attempt.c.started,
            attempt.c.ended,
            attempt.c.wall_s,
            attempt.c.failure_class.label("failure"),
            attempt.c.message,
            attempt.c.details_json,
            environment.c.packages_json.label("environment"),
        )
        .outerjoin(environment, environment.c.id == attempt.c.env_id)
        .where(attempt.c.task_id == task_id)
        .order_by(attempt.c.no)
    )
    rows = many(connection, query)
    for row in rows:
        row["details"] = from_json_text(row.pop("details_json"))
        row["environment"] = from_json_text(row.pop("environment"))
    return rows


def _counts(connection: Connection, task_id: int) -> Found:
    query = (
        select(label_item.c.state, func.count().label("n"))
        .where(label_item.c.task_id == task_id)
        .group_by(label_item.c.state)
    )
    return {row.state: row.n for row in connection.execute(query)}


def generation_of(connection: Connection, number: int) -> Found | None:
    """A generation: its parent, what it was trained on and how, how good it is."""
    parent = ensemble.alias("parent")
    query = (
        select(
            ensemble.c.id,
            ensemble.c.generation,
            ensemble.c.state,
            ensemble.c.iteration,
            parent.c.generation.label("parent"),
            ensemble.c.relation,
            snapshot.c.seq.label("snapshot"),
            snapshot.c.digest,
            snapshot.c.n_train,
            ensemble.c.arch_json,
            ensemble.c.weights_sha.label("weights"),
            ensemble.c.trained,
        )
        .join(snapshot, snapshot.c.id == ensemble.c.snapshot_id)
        .outerjoin(parent, parent.c.id == ensemble.c.parent_id)
        .where(ensemble.c.generation == number)
    )
    found = one(connection, query)
    if found is None:
        return None
    ensemble_id = found.pop("id")
    found["architecture"] = from_json_text(found.pop("arch_json"))
    metrics = select(
        ensemble_metric.c.split, ensemble_metric.c.name, ensemble_metric.c.value
    ).where(ensemble_metric.c.ensemble_id == ensemble_id)
    trained_by = select(task.c.id).where(task.c.ensemble_id == ensemble_id)
    return {
        **found,
        "task": connection.scalar(trained_by.order_by(task.c.id.desc()).limit(1)),
        "trained_on": linked(connection, "labels", ObjectName("g", number)),
        "members": _members(connection, ensemble_id),
        "metrics": {
            f"{row['split']}.{row['name']}": row["value"]
            for row in many(connection, metrics)
        },
        "properties": _properties(
            connection, material_property.c.ensemble_id == ensemble_id
        ),
    }


def _members(connection: Connection, ensemble_id: int) -> list[Found]:
    members = many(
        connection,
        select(model.c.id, model.c.member, model.c.seed, model.c.fold, model.c.best_epoch)
        .where(model.c.ensemble_id == ensemble_id)
        .order_by(model.c.member),
    )
    for member in members:
        query = select(metric.c.name, metric.c.value).where(
            metric.c.model_id == member.pop("id")
        )
        member["metrics"] = {row.name: row.value for row in connection.execute(query)}
    return members


def iteration_of(connection: Connection, number: int) -> Found | None:
    """An iteration: its tasks, decisions and statistics."""
    query = (
        select(
            iteration.c.id,
            iteration.c.number,
            iteration.c.phase,
            iteration.c.n_flagged,
            iteration.c.n_candidates,
            iteration.c.n_selected,
            iteration.c.started,
            iteration.c.ended,
            ensemble.c.generation.label("sampled_with"),
        )
        .outerjoin(ensemble, ensemble.c.id == iteration.c.ensemble_id)
        .where(iteration.c.number == number)
    )
    found = one(connection, query)
    if found is None:
        return None
    iteration_id = found.pop("id")
    tasks = (
        select(task.c.kind, task.c.state, func.count().label("n"))
        .where(task.c.iteration_id == iteration_id)
        .group_by(task.c.kind, task.c.state)
    )
    decisions = (
        select(candidate.c.decision, func.count().label("n"))
        .where(candidate.c.iteration_id == iteration_id)
        .group_by(candidate.c.decision)
    )
    stats = select(iteration_stat).where(iteration_stat.c.iteration_id == iteration_id)
    return {
        **found,
        "tasks": many(connection, tasks),
        "decisions": {row.decision: row.n for row in connection.execute(decisions)},
        "stats": {row.name: row.value for row in connection.execute(stats)},
    }


def snapshot_of(connection: Connection, number: int) -> Found | None:
    """A snapshot: its labels, and the generation that was trained on it."""
    query = (
        select(
            snapshot.c.seq.label("number"),
            snapshot.c.n_train,
            snapshot.c.n_val,
            snapshot.c.digest,
            snapshot.c.rule_json,
            snapshot.c.created,
            ensemble.c.generation,
            ensemble.c.state,
        )
        .outerjoin(ensemble, ensemble.c.snapshot_id == snapshot.c.id)
        .where(snapshot.c.seq == number)
    )
    found = one(connection, query)
    if found is not None:
        found["rule"] = from_json_text(found.pop("rule_json"))
        found["labels"] = linked(connection, "labels", ObjectName("d", number))
    return found
