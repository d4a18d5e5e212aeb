"""What acquisition had before it in each iteration, and what it decided: read-only queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, select

from alflow.core.errors import StoreError
from alflow.core.labels import AUDIT
from alflow.core.sampling import (
    Candidate,
    Decision,
    Gate,
    Selection,
    Spread,
    StopReason,
    Verdict,
)
from alflow.core.tasks import TaskState
from alflow.store import campaigns
from alflow.store.codec import AnyRow, array, from_json_text, nan_if_none
from alflow.store.costs import Spent, spent
from alflow.store.past import N_PLACES, ended_before
from alflow.store.rows import Split
from alflow.store.schema import (
    candidate,
    ensemble,
    event,
    iteration,
    iteration_stat,
    label,
    label_count,
    label_item,
    level_of_theory,
    structure,
    task,
    trajectory,
)
from alflow.store.views import SAMPLE

_SELECTED, _ENDED, _CHANGED = "candidates-selected", "iteration-ended", "config-changed"
"""Kinds of events."""


@dataclass(frozen=True, eq=False, slots=True)
class Kept:
    """A candidate as acquisition saw it, and where it comes from.

    Attributes:
        candidate: The candidate, with what was known about labels then.
        trajectory_id: The trajectory that brought it back.
        time_fs: Time since its start [fs].
        step: Its step.
    """

    candidate: Candidate
    trajectory_id: int
    time_fs: float
    step: int


@dataclass(frozen=True, slots=True)
class Path:
    """A trajectory, without its frames.

    Attributes:
        id: Its number.
        trace: Columns sampled along the way, NaN where a number was not finite.
        n_steps: Its last step.
        time_fs: Time simulated [fs].
        is_flagged: Whether a frame of it was flagged; it need not be among the candidates, where
            one frame stands for all of a structure.
        sampling_round: The round of sampling that it belongs to.
    """

    id: int
    trace: Mapping[str, Sequence[float]]
    n_steps: int
    time_fs: float
    is_flagged: bool
    sampling_round: int = 0

    @property
    def is_timed(self) -> bool:
        """Whether time passes in it, so that it ends where it is flagged."""
        return "time_fs" in self.trace


@dataclass(frozen=True, eq=False, slots=True)
class Selected:
    """One selection: what it was made from, and what came of it.

    Attributes:
        iteration: Number of the iteration.
        generation: The generation that sampled.
        gates: The gates that it sampled with, one for each round.
        kept: Candidates.
        paths: Trajectories.
        verdicts: What was decided, by id of the candidate.
        config: Settings that were in force (JSON-like).
        n_requested: Labels that had been asked for before, as a budget counts them.
        n_places: Labels that it could ask for, if the iteration has ended.
        first_round: The first round of which a task was done; selection goes by its gate.
        known: Numbers of the iterations that had ended when it began; None: all before it.
    """

    iteration: int
    generation: int
    gates: tuple[Gate, ...]
    kept: tuple[Kept, ...]
    paths: tuple[Path, ...]
    verdicts: Selection
    config: Mapping[str, Any]
    n_requested: int
    n_places: int | None = None
    first_round: int = 0
    known: frozenset[int] | None = None

    @property
    def gate(self) -> Gate:
        """The gate that selection goes by."""
        return self.gates[self.first_round]


@dataclass(frozen=True, slots=True)
class Ended:
    """An iteration that has ended, as it was judged.

    Attributes:
        iteration: Its number.
        config: Settings that were in force (JSON-like).
        n_requested: Labels that had been asked for, as a budget counts them.
        spent: What had been spent.
    """

    iteration: int
    config: Mapping[str, Any]
    n_requested: int
    spent: Spent = field(default_factory=Spent)


def selections(connection: Connection) -> list[Selected]:
    """All selections of a campaign, in order.

    Raises:
        StoreError: If something that they depended on is not in the database.
    """
    history = _History.read(connection)
    query = (
        select(iteration.c.id, iteration.c.number, ensemble.c.generation)
        .join(ensemble, ensemble.c.id == iteration.c.ensemble_id)
        .where(iteration.c.n_candidates.is_not(None))
        .order_by(iteration.c.number)
    )
    places = select(iteration_stat.c.iteration_id, iteration_stat.c.value).where(
        iteration_stat.c.name == N_PLACES
    )
    n_places = {number: int(value) for number, value in connection.execute(places)}
    found = []
    for row in connection.execute(query).all():
        rounds = _Rounds.read(connection, row.id)
        if rounds is None:
            continue
        rows = _candidates(connection, row.id)
        known = _known(connection, row, history)
        found.append(
            Selected(
                row.number,
                row.generation,
                rounds.gates,
                tuple(_kept(one, one.structure_id in known, row.number) for one in rows),
                tuple(_paths(connection, row.id, rounds)),
                {one.hash: _verdict(one) for one in rows},
                history.config(_SELECTED, row.number),
                history.n_requested(row.number),
                n_places.get(row.id),
                rounds.first,
                frozenset(ended_before(connection, row.number) or ()),
            )
        )
    return found


def ended_iterations(connection: Connection) -> list[Ended]:
    """All iterations that have ended, in order, with what stop rules went by."""
    history = _History.read(connection)
    query = (
        select(iteration.c.number, iteration.c.ended)
        .where(iteration.c.ended.is_not(None))
        .order_by(iteration.c.number)
    )
    return [
        Ended(
            row.number,
            history.config(_ENDED, row.number),
            history.n_requested(row.number + 1),
            spent(connection, until=row.ended),
        )
        for row in connection.execute(query).all()
    ]


@dataclass(frozen=True, slots=True)
class _History:
    """When what happened: settings that were replaced, selections, labels asked for."""

    newest: Mapping[str, Any]
    replaced: Sequence[tuple[int, Mapping[str, Any]]]
    moments: Mapping[tuple[str, int], tuple[int, float]]
    requests: Mapping[int, int]

    @classmethod
    def read(cls, connection: Connection) -> "_History":
        """Read events and counts."""
        config = campaigns.load(connection).config
        primary = dict(config.get("label") or {}).get("primary")
        kinds = (_SELECTED, _ENDED, _CHANGED)
        query = select(event).where(event.c.kind.in_(kinds)).order_by(event.c.id)
        rows = connection.execute(query).all()
        counts = (
            select(iteration.c.number, func.sum(label_count.c.n))
            .join(iteration, iteration.c.id == label_count.c.iteration_id)
            .join(level_of_theory, level_of_theory.c.id == label_count.c.lot_id)
            .where(
                label_count.c.split != Split.TEST, ~level_of_theory.c.name.endswith(AUDIT)
            )
            .group_by(iteration.c.number)
        )
        if primary is not None:
            counts = counts.where(level_of_theory.c.name == primary)
        return cls(
            config,
            [
                (one.id, from_json_text(one.data_json)["old"])
                for one in rows
                if one.kind == _CHANGED
            ],
            {
                (one.kind, int(one.subject.removeprefix("i"))): (one.id, one.ts)
                for one in rows
                if one.kind != _CHANGED
            },
            {number: int(n) for number, n in connection.execute(counts)},
        )

    def config(self, kind: str, number: int) -> Mapping[str, Any]:
        """The settings that were in force at an event of an iteration."""
        at = self.moments[kind, number][0] if (kind, number) in self.moments else None
        later = (old for one, old in self.replaced if at is not None and one > at)
        return next(later, self.newest)

    def n_requested(self, number: int) -> int:
        """Labels that iterations before this one asked for."""
        return sum(n for one, n in self.requests.items() if one < number)


@dataclass(frozen=True, slots=True)
class _Rounds:
    """The rounds of sampling of an iteration.

    Attributes:
        gates: The gate of each.
        of_task: Round by number of the task.
        first: The first one of which a task was done.
    """

    gates: tuple[Gate, ...]
    of_task: Mapping[int, int]
    first: int

    @classmethod
    def read(cls, connection: Connection, iteration_id: int) -> "_Rounds | None":
        """Read the sample tasks; None if there was no gate."""
        query = (
            select(task.c.id, task.c.key, task.c.state, task.c.spec_json)
            .where(task.c.iteration_id == iteration_id, task.c.kind == SAMPLE)
            .order_by(task.c.id)
        )
        rows = connection.execute(query).all()
        numbers: dict[str, int] = {}
        gates = []
        for row in rows:
            prefix = row.key.rpartition("/")[0]
            if prefix not in numbers:
                numbers[prefix] = len(numbers)
                gates.append(from_json_text(row.spec_json)["settings"].get("gate"))
        of_task = {row.id: numbers[row.key.rpartition("/")[0]] for row in rows}
        done = [of_task[row.id] for row in rows if row.state == TaskState.DONE]
        if not done or None in gates:
            return None
        return cls(tuple(map(Gate.from_json, gates)), of_task, done[0])


def _candidates(connection: Connection, iteration_id: int) -> Sequence[AnyRow]:
    query = (
        select(candidate, structure.c.hash)
        .join(structure, structure.c.id == candidate.c.structure_id)
        .where(candidate.c.iteration_id == iteration_id)
        .order_by(candidate.c.id)
    )
    return connection.execute(query).all()


def _known(connection: Connection, row: AnyRow, history: _History) -> frozenset[int]:
    """Structures among the candidates for which a label had been asked, or imported, before."""
    of_candidate = (
        select(label_item.c.structure_id)
        .join(candidate, candidate.c.structure_id == label_item.c.structure_id)
        .where(candidate.c.iteration_id == row.id)
    )
    asked = (
        of_candidate.join(task, task.c.id == label_item.c.task_id)
        .join(iteration, iteration.c.id == task.c.iteration_id)
        .where(iteration.c.number < row.number)
    )
    imported = of_candidate.join(label, label.c.id == label_item.c.id).where(
        label_item.c.task_id.is_(None)
    )
    if (_SELECTED, row.number) in history.moments:
        moment = history.moments[_SELECTED, row.number][1]
        imported = imported.where(label.c.created < moment)
    return frozenset([*connection.scalars(asked), *connection.scalars(imported)])


def _kept(row: AnyRow, is_known: bool, number: int) -> Kept:  # noqa: FBT001 - a value
    fingerprint = array(row.fingerprint, -1)
    if fingerprint is None:
        raise StoreError(
            f"the fingerprints of the candidates of iteration i{number} are not in the database",
            consequence="What other settings would have chosen cannot be told.",
        )
    spread = Spread(
        *map(
            nan_if_none,
            (
                row.energy_spread,
                row.force_spread_mean,
                row.force_spread_max,
                row.force_scale,
            ),
        )
    )
    one = Candidate(
        row.hash,
        spread,
        row.reason,
        row.measure,
        fingerprint,
        is_known,
        row.cost_core_s,
    )
    return Kept(one, row.trajectory_id, row.time_fs, row.step)


def _verdict(row: AnyRow) -> Verdict:
    decision = Decision(row.decision)
    return Verdict(decision, row.decision_reason, row.rank, row.cost_core_s)


def _paths(connection: Connection, iteration_id: int, rounds: _Rounds) -> list[Path]:
    query = (
        select(trajectory)
        .where(trajectory.c.iteration_id == iteration_id)
        .order_by(trajectory.c.id)
    )
    found = []
    for row in connection.execute(query):
        trace = {
            name: [*map(nan_if_none, column)]
            for name, column in from_json_text(row.trace_json).items()
        }
        is_flagged = row.stop_reason == StopReason.FLAGGED
        number = rounds.of_task.get(row.task_id, 0)
        found.append(Path(row.id, trace, row.n_steps, row.time_fs, is_flagged, number))
    return found
