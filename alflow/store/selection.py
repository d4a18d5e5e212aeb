"""Iterations, and the one transaction that turns trajectories into label tasks."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from alflow.core.errors import StoreError
from alflow.core.failpoints import failpoint
from alflow.core.sampling import (
    Decision,
    Frame,
    Selection,
    StopReason,
    standing_for_all,
)
from alflow.core.structures import Structure
from alflow.store import bulk, generations
from alflow.store.codec import (
    AnyRow,
    Number,
    array_bytes,
    finite_or_none,
    json_text,
    lossy_json_text,
)
from alflow.store.database import next_id
from alflow.store.generations import ensemble_of
from alflow.store.publishing import LABEL, publish
from alflow.store.rows import (
    GateVerdict,
    NewStructure,
    NewTask,
    SightingKind,
    Split,
    TrajectoryRow,
)
from alflow.store.schema import (
    attempt,
    candidate,
    iteration,
    iteration_stat,
    sighting,
    task,
    trajectory,
)
from alflow.store.structures import add_members, ensure
from alflow.store.transaction import Transaction


def begin_iteration(
    tx: Transaction,
    number: int,
    phase: str,
    tasks: Sequence[NewTask],
    generation: int | None,
) -> bool:
    """Insert an iteration with its first tasks; False if it has begun already."""
    if _row(tx, number) is not None:
        return False
    values = {
        "id": next_id(tx.connection, iteration),
        "campaign_id": tx.campaign_id,
        "number": number,
        "phase": phase,
        "ensemble_id": None
        if generation is None
        else ensemble_of(tx.connection, generation),
        "started": tx.now,
    }
    tx.connection.execute(iteration.insert(), values)
    publish(tx, tasks)
    tx.event("iteration-started", f"i{number}", {"phase": phase})
    return True


def end_iteration(
    tx: Transaction,
    number: int,
    stats: Mapping[str, Number | None],
    gate: GateVerdict | None,
) -> bool:
    """Close an iteration, with what became of its generation; False if it is closed already."""
    iteration_id = tx.iteration_id(number)
    row = _row(tx, number)
    if row is not None and row.ended is not None:
        return False
    rows: list[dict[str, Any]] = []
    for name, value in stats.items():
        if value is not None and math.isfinite(value):
            rows.append({"iteration_id": iteration_id, "name": name, "value": float(value)})
    if rows:
        tx.connection.execute(iteration_stat.insert(), rows)
    tx.connection.execute(
        iteration.update().where(iteration.c.id == iteration_id), {"ended": tx.now}
    )
    if gate is not None:
        generations.judge(tx, gate)
    numbers = {row["name"]: row["value"] for row in rows}
    tx.event("iteration-ended", f"i{number}", numbers)
    return True


def record(
    tx: Transaction,
    place: tuple[int, int],
    trajectories: Sequence[TrajectoryRow],
    verdicts: Selection,
    tasks: Sequence[NewTask],
) -> bool:
    """Write trajectories, candidates and decisions of (iteration, generation).

    Returns:
        False if the iteration has been decided about already.
    """
    number, generation = place
    row = _row(tx, number)
    if row is None:
        raise StoreError(f"iteration i{number} has not begun")
    if row.n_candidates is not None:
        return False
    ensemble_id = ensemble_of(tx.connection, generation)
    ids = ensure(tx, _all_structures(trajectories))
    links = _Links(row.id, number, ensemble_id, ids)
    paths = _add_trajectories(tx, links, trajectories)
    failpoint("store.record-selection.inside")
    n_candidates = _add_frames(tx, links, trajectories, paths, verdicts)
    n_selected = sum(v.decision is Decision.SELECTED for v in verdicts.values())
    n_flagged = sum(t.trajectory.stop_reason is StopReason.FLAGGED for t in trajectories)
    values = {
        "ensemble_id": ensemble_id,
        "n_flagged": n_flagged,
        "n_candidates": n_candidates,
        "n_selected": n_selected,
        "phase": LABEL,
    }
    tx.connection.execute(iteration.update().where(iteration.c.id == row.id), values)
    publish(tx, tasks)
    counts = {"candidates": n_candidates, "selected": n_selected}
    tx.event("candidates-selected", f"i{number}", counts)
    return True


class _Links:
    """Ids that the rows of one selection refer to."""

    def __init__(
        self, iteration_id: int, number: int, ensemble_id: int, structures: dict[str, int]
    ) -> None:
        self.iteration_id = iteration_id
        self.number = number
        self.ensemble_id = ensemble_id
        self.structures = structures


def _row(tx: Transaction, number: int) -> AnyRow | None:
    return tx.connection.execute(
        select(iteration).where(
            iteration.c.campaign_id == tx.campaign_id, iteration.c.number == number
        )
    ).one_or_none()


def _all_structures(trajectories: Sequence[TrajectoryRow]) -> list[Structure]:
    found = []
    for row in trajectories:
        found.append(row.trajectory.start)
        found += [frame.structure for frame in row.trajectory.frames]
    return found


def _add_trajectories(
    tx: Transaction, links: _Links, trajectories: Sequence[TrajectoryRow]
) -> list[int]:
    tasks = _sample_tasks(tx, links.iteration_id)
    free = next_id(tx.connection, trajectory)
    rows: list[dict[str, Any]] = []
    starts = []
    for trajectory_id, row in enumerate(trajectories, free):
        if row.task_key not in tasks:
            raise StoreError(f"iteration i{links.number} has no task {row.task_key!r}")
        task_id, attempt_id = tasks[row.task_key]
        start_id = links.structures[row.trajectory.start.hash]
        rows.append(
            {
                "id": trajectory_id,
                "campaign_id": tx.campaign_id,
                "iteration_id": links.iteration_id,
                "ensemble_id": links.ensemble_id,
                "task_id": task_id,
                "attempt_id": attempt_id,
                "start_structure_id": start_id,
                **_trajectory_values(row),
            }
        )
        seen = _sighting(start_id, SightingKind.START, row.source or row.sampler, row.group)
        where = {"trajectory_id": trajectory_id, "step": 0, "attempt_id": attempt_id}
        starts.append(seen | where)
    if rows:
        tx.connection.execute(trajectory.insert(), rows)
        bulk.insert(tx.connection, sighting, starts, skip_known=True)
    return [row["id"] for row in rows]


def _trajectory_values(row: TrajectoryRow) -> dict[str, Any]:
    path = row.trajectory
    return {
        "position": row.position,
        "sampler": row.sampler,
        "seed": path.seed,
        "schedule_json": json_text(dict(path.schedule)),
        "n_steps": path.n_steps,
        "time_fs": path.time_fs,
        "stop_reason": path.stop_reason,
        "trace_json": lossy_json_text(dict(path.trace)),
    }


def _sample_tasks(tx: Transaction, iteration_id: int) -> dict[str, tuple[int, int | None]]:
    last = (attempt.c.task_id == task.c.id) & (attempt.c.no == task.c.attempts)
    query = (
        select(task.c.key, task.c.id, attempt.c.id.label("attempt_id"))
        .select_from(task.outerjoin(attempt, last))
        .where(task.c.iteration_id == iteration_id)
    )
    return {row.key: (row.id, row.attempt_id) for row in tx.connection.execute(query)}


def _add_frames(
    tx: Transaction,
    links: _Links,
    trajectories: Sequence[TrajectoryRow],
    paths: Sequence[int],
    verdicts: Selection,
) -> int:
    members, sightings = [], []
    copies: dict[int, list[tuple[Frame, int]]] = {}
    for row, trajectory_id in zip(trajectories, paths, strict=True):
        for frame in row.trajectory.frames:
            structure_id = links.structures[frame.structure.hash]
            item = NewStructure(frame.structure, row.group, Split.TRAIN, row.sampler)
            members.append((structure_id, item))
            seen = _sighting(structure_id, SightingKind.SAMPLER, row.sampler, row.group)
            parent = links.structures[row.trajectory.start.hash]
            where = {"trajectory_id": trajectory_id, "step": frame.step}
            sightings.append(seen | where | {"parent_structure_id": parent})
            copies.setdefault(structure_id, []).append((frame, trajectory_id))
    if copies:
        add_members(tx, members, links.number)
        bulk.insert(tx.connection, sighting, sightings, skip_known=True)
        bulk.insert(tx.connection, candidate, _candidates(tx, links, copies, verdicts))
    return len(copies)


def _candidates(
    tx: Transaction,
    links: _Links,
    copies: Mapping[int, Sequence[tuple[Frame, int]]],
    verdicts: Selection,
) -> list[dict[str, Any]]:
    """One row for each structure: the frame that the rule took for all frames of it."""
    rows = []
    free = next_id(tx.connection, candidate)
    for number, (structure_id, found) in enumerate(copies.items(), free):
        frame = standing_for_all([one for one, _ in found])
        rows.append(
            {
                "id": number,
                "iteration_id": links.iteration_id,
                "structure_id": structure_id,
                "trajectory_id": next(path for one, path in found if one is frame),
                "ensemble_id": links.ensemble_id,
                **_frame_values(frame),
                **_verdict_values(frame, verdicts),
                "fingerprint": array_bytes(frame.fingerprint),
            }
        )
    return rows


def _frame_values(frame: Frame) -> dict[str, Any]:
    return {
        "step": frame.step,
        "time_fs": frame.time_fs,
        "temperature_K": frame.temperature_K,
        "reason": frame.reason,
        "measure": frame.measure,
        "energy_spread": finite_or_none(frame.spread.energy),
        "force_spread_mean": finite_or_none(frame.spread.force_mean),
        "force_spread_max": finite_or_none(frame.spread.force_max),
        "force_scale": finite_or_none(frame.spread.force_scale),
    }


def _verdict_values(frame: Frame, verdicts: Selection) -> dict[str, Any]:
    verdict = verdicts.get(frame.structure.hash)
    if verdict is None:
        raise StoreError(f"candidate {frame.structure.hash} has no verdict")
    return {
        "decision": verdict.decision,
        "decision_reason": verdict.reason,
        "rank": verdict.rank,
        "cost_core_s": verdict.cost_core_s,
    }


def _sighting(
    structure_id: int, kind: SightingKind, source: str, group: str
) -> dict[str, Any]:
    return {
        "structure_id": structure_id,
        "kind": kind,
        "source": source,
        "group_key": group,
        "attempt_id": None,
        "parent_structure_id": None,
    }
