"""Everything about structures, labels, trajectories and candidates, and where they are from."""

from typing import Any

from sqlalchemy import Connection, Select, select

from alflow.core.labels import AUDIT, audit_level
from alflow.core.naming import ObjectName
from alflow.store.codec import from_json_text
from alflow.store.descent import Found, linked, many, one
from alflow.store.schema import (
    campaign_structure,
    candidate,
    ensemble,
    event,
    iteration,
    label,
    label_item,
    level_of_theory,
    prediction,
    sighting,
    snapshot,
    source_file,
    structure,
    trajectory,
)


def structure_of(connection: Connection, number: int) -> Found | None:
    """A structure: its origins, where it was considered for a label, its labels."""
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
    found = one(connection, query)
    if found is None:
        return None
    return {
        **found,
        "origins": _origins(connection, number),
        "considered": _considered(connection, number),
        "labels": [
            _parsed(row)
            for row in many(
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
            trajectory.c.schedule_json,
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
    return [_driven(connection, row) for row in many(connection, query)]


def _driven(connection: Connection, row: Found) -> Found:
    """With the schedule as values, and what the generation that drove it was trained on."""
    row["schedule"] = from_json_text(row.pop("schedule_json"))
    if row["snapshot"] is not None:
        row["trained_on"] = linked(connection, "labels", ObjectName("d", row["snapshot"]))
    return row


def _considered(connection: Connection, structure_id: int) -> list[Found]:
    query = (
        select(
            candidate.c.id.label("candidate"),
            candidate.c.trajectory_id.label("trajectory"),
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
    return many(connection, query)


def label_of(connection: Connection, number: int) -> Found | None:
    """A label: where its structure is from, who predicted it, its audit, what happened to it."""
    found = one(connection, _label_query().where(label_item.c.id == number))
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
        for row in many(connection, changes)
    ]
    predictions = many(connection, query)
    return {
        **_parsed(found),
        "origins": _origins(connection, found["structure"]),
        "predictions": predictions,
        "audits": _audits(connection, found),
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
            label.c.superseded_by,
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


def _audits(connection: Connection, found: Found) -> list[Found]:
    """Where the label was computed again: what came out, and by how much it differs [eV]."""
    if found["level"].endswith(AUDIT):
        return []
    again = label.alias("again")
    query = (
        select(
            label_item.c.id.label("label"),
            label_item.c.state,
            label_item.c.task_id.label("task"),
            again.c.energy,
            (again.c.energy - found["energy"]).label("energy_difference"),
            label_item.c.message,
        )
        .join(level_of_theory, level_of_theory.c.id == label_item.c.lot_id)
        .outerjoin(again, again.c.id == label_item.c.id)
        .where(
            label_item.c.structure_id == found["structure"],
            level_of_theory.c.name == audit_level(found["level"]),
        )
        .order_by(label_item.c.id)
    )
    return many(connection, query)


def trajectory_of(connection: Connection, number: int) -> Found | None:
    """A trajectory: its schedule, where it began, who drove it, why it ended."""
    query = (
        select(
            trajectory.c.id,
            iteration.c.number.label("iteration"),
            trajectory.c.task_id.label("task"),
            trajectory.c.position,
            trajectory.c.sampler,
            trajectory.c.seed,
            trajectory.c.n_steps,
            trajectory.c.time_fs,
            trajectory.c.stop_reason,
            trajectory.c.start_structure_id.label("start"),
            structure.c.formula,
            trajectory.c.schedule_json,
            ensemble.c.generation,
            snapshot.c.seq.label("snapshot"),
        )
        .join(iteration, iteration.c.id == trajectory.c.iteration_id)
        .join(structure, structure.c.id == trajectory.c.start_structure_id)
        .join(ensemble, ensemble.c.id == trajectory.c.ensemble_id)
        .join(snapshot, snapshot.c.id == ensemble.c.snapshot_id)
        .where(trajectory.c.id == number)
    )
    found = one(connection, query)
    return None if found is None else _driven(connection, found)


def candidate_of(connection: Connection, number: int) -> Found | None:
    """A candidate: its frame, its spread, what was decided and why, what became of its label."""
    columns = [
        column
        for column in candidate.c
        if column.name not in ("iteration_id", "ensemble_id", "fingerprint")
        and column.name not in ("structure_id", "trajectory_id")
    ]
    query = (
        select(
            candidate.c.id,
            candidate.c.structure_id.label("structure"),
            structure.c.formula,
            candidate.c.trajectory_id.label("trajectory"),
            iteration.c.number.label("iteration"),
            ensemble.c.generation,
            *columns[1:],
        )
        .join(structure, structure.c.id == candidate.c.structure_id)
        .join(iteration, iteration.c.id == candidate.c.iteration_id)
        .join(ensemble, ensemble.c.id == candidate.c.ensemble_id)
        .where(candidate.c.id == number)
    )
    found = one(connection, query)
    if found is None:
        return None
    labels = _label_query().where(label_item.c.structure_id == found["structure"])
    return {
        **found,
        "path": trajectory_of(connection, found["trajectory"]),
        "labels": [_parsed(row) for row in many(connection, labels)],
    }
