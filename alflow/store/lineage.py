"""Everything about one object and how it came to be, for `alflow show`.

Objects are named by a letter and a number: s-12 structure, l-12 label, t-8 task, g3 generation,
i2 iteration, d3 snapshot (the data of generation 3).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Select, func, select

from alflow.core.errors import SettingsError
from alflow.store.codec import from_json_text, hashes_from
from alflow.store.schema import (
    attempt,
    campaign_structure,
    candidate,
    ensemble,
    ensemble_metric,
    environment,
    event,
    iteration,
    iteration_stat,
    label,
    label_item,
    level_of_theory,
    metric,
    model,
    prediction,
    sighting,
    snapshot,
    source_file,
    structure,
    task,
    trajectory,
)
from alflow.store.store import Store

Found = dict[str, Any]


def show(store: Store, name: str) -> Found:
    """What the store knows about an object; JSON-like, no arrays.

    Args:
        store: The store.
        name: For example s-12, l-12, t-8, g3, i2, d3.

    Raises:
        SettingsError: If it is not such a name, or there is no such object.
    """
    match = re.fullmatch(r"([sltgid])-?(\d{1,18})", name)
    if match is None:
        raise SettingsError(
            f"{name!r} names nothing",
            next_step="names look like s-12, l-12, t-8, g3, i2 or d3",
        )
    with store.read() as connection:
        found = _OBJECTS[match[1]](connection, int(match[2]))
    if found is None:
        raise SettingsError(f"there is no {_WORDS[match[1]]} {name}")
    return {"what": _WORDS[match[1]], **found}


def _structure(connection: Connection, number: int) -> Found | None:
    query = (
        select(
            structure.c.id,
            structure.c.hash,
            structure.c.formula,
            structure.c.n_atoms,
            structure.c.pbc,
            structure.c.charge,
            structure.c.multiplicity,
            structure.c.created,
            campaign_structure.c.split,
            campaign_structure.c.group_key.label("group"),
            campaign_structure.c.source,
            campaign_structure.c.added_iter.label("iteration"),
        )
        .outerjoin(campaign_structure, campaign_structure.c.structure_id == structure.c.id)
        .where(structure.c.id == number)
    )
    found = _one(connection, query)
    if found is None:
        return None
    return {
        **found,
        "origins": _origins(connection, number),
        "considered": _considered(connection, number),
        "labels": [
            _parsed(row)
            for row in _many(
                connection, _label_query().where(label_item.c.structure_id == number)
            )
        ],
    }


def _origins(connection: Connection, structure_id: int) -> list[Found]:
    query = (
        select(
            sighting.c.kind,
            sighting.c.source,
            sighting.c.group_key.label("group"),
            source_file.c.sha256.label("file_sha256"),
            sighting.c.frame,
            sighting.c.step,
            sighting.c.parent_structure_id.label("parent"),
            trajectory.c.id.label("trajectory"),
            trajectory.c.sampler,
            trajectory.c.stop_reason,
            trajectory.c.start_structure_id.label("start"),
            trajectory.c.task_id.label("task"),
            ensemble.c.generation,
            snapshot.c.seq.label("snapshot"),
        )
        .outerjoin(source_file, source_file.c.id == sighting.c.file_id)
        .outerjoin(trajectory, trajectory.c.id == sighting.c.trajectory_id)
        .outerjoin(ensemble, ensemble.c.id == trajectory.c.ensemble_id)
        .outerjoin(snapshot, snapshot.c.id == ensemble.c.snapshot_id)
        .where(sighting.c.structure_id == structure_id)
        .order_by(*sighting.primary_key.columns)
    )
    return _many(connection, query)


def _considered(connection: Connection, structure_id: int) -> list[Found]:
    query = (
        select(
            iteration.c.number.label("iteration"),
            candidate.c.reason,
            candidate.c.measure,
            candidate.c.energy_spread,
            candidate.c.force_spread_mean,
            candidate.c.force_spread_max,
            candidate.c.decision,
            candidate.c.decision_reason,
            candidate.c.rank,
        )
        .join(iteration, iteration.c.id == candidate.c.iteration_id)
        .where(candidate.c.structure_id == structure_id)
        .order_by(candidate.c.id)
    )
    return _many(connection, query)


def _label(connection: Connection, number: int) -> Found | None:
    found = _one(connection, _label_query().where(label_item.c.id == number))
    if found is None:
        return None
    query = (
        select(
            ensemble.c.generation,
            prediction.c.energy,
            prediction.c.energy_spread,
            prediction.c.force_rmse,
            prediction.c.force_spread_max,
        )
        .join(ensemble, ensemble.c.id == prediction.c.ensemble_id)
        .where(prediction.c.label_id == number)
        .order_by(ensemble.c.generation)
    )
    changes = (
        select(event.c.ts.label("created"), event.c.kind, event.c.data_json)
        .where(event.c.subject == f"l-{number}")
        .order_by(event.c.id)
    )
    history = [
        {**row, "data": from_json_text(row.pop("data_json"))}
        for row in _many(connection, changes)
    ]
    predictions = _many(connection, query)
    return {
        **_parsed(found),
        "origins": _origins(connection, found["structure"]),
        "predictions": predictions,
        "history": history,
    }


def _parsed(row: Found) -> Found:
    """A label with its details and extras as values instead of text."""
    details, extras = row.pop("details_json"), row.pop("extras_json")
    return {**row, "details": from_json_text(details), "extras": from_json_text(extras)}


def _label_query() -> Select[Any]:
    return (
        select(
            label_item.c.id,
            label_item.c.structure_id.label("structure"),
            level_of_theory.c.name.label("level"),
            label_item.c.state,
            label_item.c.task_id.label("task"),
            label.c.energy,
            label.c.fmax,
            label.c.quality,
            label.c.program_version.label("program"),
            label.c.created,
            label.c.content_sha,
            label_item.c.failure_kind.label("failure"),
            label_item.c.message,
            label_item.c.details_json,
            label.c.extras_json,
        )
        .join(level_of_theory, level_of_theory.c.id == label_item.c.lot_id)
        .outerjoin(label, label.c.id == label_item.c.id)
        .order_by(label_item.c.id)
    )


def _task(connection: Connection, number: int) -> Found | None:
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
    found = _one(connection, query)
    if found is None:
        return None
    items = hashes_from(found.pop("item_hashes"))
    found["spec"] = {**from_json_text(found.pop("spec_json")), "items": list(items)}
    found["outcome"] = from_json_text(found.pop("outcome_json"))
    return {
        **found,
        "attempts": _attempts(connection, number),
        "labels": _counts(connection, number),
    }


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
    rows = _many(connection, query)
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


def _generation(connection: Connection, number: int) -> Found | None:
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
    found = _one(connection, query)
    if found is None:
        return None
    ensemble_id = found.pop("id")
    found["architecture"] = from_json_text(found.pop("arch_json"))
    metrics = select(
        ensemble_metric.c.split, ensemble_metric.c.name, ensemble_metric.c.value
    ).where(ensemble_metric.c.ensemble_id == ensemble_id)
    return {
        **found,
        "members": _members(connection, ensemble_id),
        "metrics": {
            f"{row['split']}.{row['name']}": row["value"]
            for row in _many(connection, metrics)
        },
    }


def _members(connection: Connection, ensemble_id: int) -> list[Found]:
    members = _many(
        connection,
        select(model.c.id, model.c.member, model.c.seed, model.c.fold, model.c.best_epoch)
        .where(model.c.ensemble_id == ensemble_id)
        .order_by(model.c.member),
    )
    for one in members:
        query = select(metric.c.name, metric.c.value).where(
            metric.c.model_id == one.pop("id")
        )
        one["metrics"] = {row.name: row.value for row in connection.execute(query)}
    return members


def _iteration(connection: Connection, number: int) -> Found | None:
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
    found = _one(connection, query)
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
        "tasks": _many(connection, tasks),
        "decisions": {row.decision: row.n for row in connection.execute(decisions)},
        "stats": {row.name: row.value for row in connection.execute(stats)},
    }


def _snapshot(connection: Connection, number: int) -> Found | None:
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
    found = _one(connection, query)
    if found is not None:
        found["rule"] = from_json_text(found.pop("rule_json"))
    return found


def _one(connection: Connection, query: Select[Any]) -> Found | None:
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else dict(row)


def _many(connection: Connection, query: Select[Any]) -> list[Found]:
    return [dict(row) for row in connection.execute(query).mappings()]


_OBJECTS: Mapping[str, Callable[[Connection, int], Found | None]] = {
    "s": _structure,
    "l": _label,
    "t": _task,
    "g": _generation,
    "i": _iteration,
    "d": _snapshot,
}
_WORDS = {
    "s": "structure",
    "l": "label",
    "t": "task",
    "g": "generation",
    "i": "iteration",
    "d": "snapshot",
}
