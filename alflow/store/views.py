"""What the planner and the status line read: counts, in one short read transaction."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection, func, select

from alflow.core.labels import AUDIT
from alflow.store import campaigns, lease, snapshots
from alflow.store.codec import AnyRow, from_json_text, nan_if_none
from alflow.store.costs import Spent, spent
from alflow.store.faults import Troubles, troubles
from alflow.store.rows import CampaignState, EnsembleState, ItemState, Split
from alflow.store.schema import (
    campaign,
    campaign_structure,
    ensemble,
    ensemble_metric,
    event,
    iteration,
    iteration_stat,
    label,
    label_count,
    level_of_theory,
    manager_lease,
    snapshot,
    task,
    task_count,
)
from alflow.store.store import Store
from alflow.store.transaction import utc_now
from alflow.store.yields import ArmYield, all_yields

SAMPLE = "sample"
"""The kind of task that explores. The key of one is `PREFIX/NUMBER`, a prefix to a round."""

N_EVENTS = 10
"""Events in a status."""

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class IterationProgress:
    """How far an iteration is.

    Attributes:
        number: Its number.
        phase: What it is waiting for: build, sample, label, train, validate.
        ended: Whether it is closed.
        tasks: Number of tasks by kind and state.
        n_rounds: Rounds of sample tasks published so far; 0 once the iteration has ended.
        n_flagged: Trajectories that ended at a flagged frame, of sample tasks that are done.
        n_candidates: Frames that were considered; None before they were decided about.
        n_selected: Frames that were chosen for a label.
        n_pending: Requested labels that are not there yet.
        n_labelled: Requested labels that are there.
        n_failed: Requested labels that failed.
        stats: Its statistics by name, once it has ended.
        generation: Number of the generation that looked for its frames, or that judged them again
            since; None if it did not sample.
    """

    number: int
    phase: str
    ended: bool = False
    tasks: Mapping[str, Counts] = field(default_factory=dict)
    n_rounds: int = 0
    n_flagged: int = 0
    n_candidates: int | None = None
    n_selected: int = 0
    n_pending: int = 0
    n_labelled: int = 0
    n_failed: int = 0
    stats: Mapping[str, float] = field(default_factory=dict)
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class GenerationProgress:
    """How far a generation is.

    Attributes:
        number: Its number.
        state: planned, training, ready, rejected or retired.
        relation: What it has from its parent: fresh, warm_start, transfer, ...
        n_train: Labels in its snapshot to train on.
        n_put_aside: Those of them that are not trusted any more.
        metrics: Its numbers by `SPLIT.NAME`, NaN where not finite; SPLIT is test or new.
        has_test_predictions: Whether it has been asked about test structures.
        has_new_predictions: Whether it has been asked about other labelled structures.
    """

    number: int
    state: str
    relation: str = ""
    n_train: int = 0
    n_put_aside: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    has_test_predictions: bool = False
    has_new_predictions: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """Everything that the planner decides by.

    Attributes:
        state: Where the campaign stands.
        stop_requested: None, drain or now.
        iterations: By number.
        generations: By number.
        labels: Number of requested labels by state: pending, ok, failed.
        n_train: Structures to train on, with a trusted label of the primary level.
        n_test: Structures of the test set, with such a label.
        n_requested: Labels of that level asked for outside of the test set: what a budget counts.
        spent: What it cost; nothing while no iteration could begin.
    """

    state: str
    stop_requested: str | None = None
    iterations: tuple[IterationProgress, ...] = ()
    generations: tuple[GenerationProgress, ...] = ()
    labels: Counts = field(default_factory=dict)
    n_train: int = 0
    n_test: int = 0
    n_requested: int = 0
    spent: Spent = field(default_factory=Spent)

    @classmethod
    def empty(cls) -> "Progress":
        """A campaign that has not begun."""
        return cls(CampaignState.RUNNING)


@dataclass(frozen=True, slots=True)
class ManagerStatus:
    """Who runs the campaign.

    Attributes:
        alive: Whether a manager seems to be running.
        holder: Who the last one was; empty if there was none.
        host: Where it ran.
        pid: Its process there; None if there was none.
        silent_s: Time since its last sign of life [s]; None if there was none.
        is_released: Whether it left by itself, not by being killed.
        renewed: Its last sign of life [s]; None if there was none.
    """

    alive: bool
    holder: str = ""
    host: str = ""
    pid: int | None = None
    silent_s: float | None = None
    is_released: bool = False
    renewed: float | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """One screen about a campaign; what `alflow status --json` prints.

    Attributes:
        campaign: Its name.
        state: Where it stands.
        verdict: Why, a sentence; empty while it runs.
        stop_requested: None, drain or now.
        iteration: Number of the last iteration, None before the first.
        phase: What that iteration is waiting for.
        under_way: Phases of all iterations that are under way, by number.
        generation: Number of the last generation that is ready, None before the first.
        refused: Later ones, which were worse on the test set.
        put_aside: Number of labels of the primary level that are not trusted.
        labels: Number of requested labels by state: pending, ok, failed.
        tasks: Number of tasks by kind and state.
        manager: Who runs it.
        events: The last events, newest first (JSON-like).
        troubles: What stands in its way: lost attempts, waits, quarantine, hosts, pools.
        arms: What the arms of a mixture did in the last iteration that has ended.
    """

    campaign: str
    state: str
    verdict: str
    stop_requested: str | None
    iteration: int | None
    phase: str
    generation: int | None
    labels: Counts
    tasks: Mapping[str, Counts]
    manager: ManagerStatus
    events: Sequence[Mapping[str, Any]]
    troubles: Troubles = field(default_factory=Troubles)
    arms: Sequence[ArmYield] = ()
    refused: Sequence[int] = ()
    put_aside: int = 0
    under_way: Mapping[int, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict."""
        return asdict(self)


def progress(store: Store, *, with_cost: bool = True) -> Progress:
    """What the planner needs to know; cheap enough for every turn of the manager.

    Args:
        store: The store.
        with_cost: Whether to add up what was spent, where that may matter to the planner.
    """
    with store.read() as connection:
        if connection.scalar(select(campaign.c.id).limit(1)) is None:
            return Progress.empty()
        row = campaigns.load(connection)
        primary = _primary(row.config)
        labels = _label_counts(connection, primary)
        put_aside = _put_aside(connection, primary)
        learnt = [count for count in labels if count[-1]]
        asked = [count for count in learnt if count[0] is not None]
        iterations = _iterations(connection, labels)
        is_judged = (
            with_cost
            and any(one.ended for one in iterations)
            and (iterations[-1].ended or _overlap(row.config))
        )
        return Progress(
            state=str(row.state),
            stop_requested=campaigns.stop_requested(connection),
            iterations=iterations,
            generations=_generations(connection),
            labels={str(state): _total(labels, state=state) for state in ItemState},
            n_train=_total(learnt, split=Split.TRAIN, state=ItemState.OK)
            - put_aside[Split.TRAIN],
            n_test=_total(learnt, split=Split.TEST, state=ItemState.OK)
            - put_aside[Split.TEST],
            n_requested=_total(asked) - _total(asked, split=Split.TEST),
            spent=spent(connection) if is_judged else Spent(),
        )


def status(store: Store) -> Status:
    """What a person wants to know first."""
    view = progress(store, with_cost=False)
    last = view.iterations[-1] if view.iterations else None
    ready = [g.number for g in view.generations if g.state == EnsembleState.READY]
    refused = [g.number for g in view.generations if g.state == EnsembleState.REJECTED]
    totals: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for one in view.iterations:
        for kind, states in one.tasks.items():
            for state, count in states.items():
                totals[kind][state] += count
    with store.read() as connection:
        row = campaigns.load(connection)
        yields = all_yields(connection)
        return Status(
            campaign=row.name,
            state=str(row.state),
            verdict=row.verdict,
            stop_requested=view.stop_requested,
            iteration=last.number if last else None,
            phase=last.phase if last else "",
            generation=ready[-1] if ready else None,
            labels=view.labels,
            tasks={kind: dict(states) for kind, states in totals.items()},
            manager=manager_status(connection),
            events=_events(connection),
            troubles=troubles(connection, utc_now()),
            arms=[one for one in yields if one.iteration == yields[-1].iteration],
            refused=[number for number in refused if ready and number > ready[-1]],
            put_aside=_put_aside(connection, _primary(row.config)).total(),
            under_way={one.number: one.phase for one in view.iterations if not one.ended},
        )


LabelCount = tuple[int | None, str, str, int, bool]
"""Iteration (None for imported labels), split, state, number, and whether of the primary level."""


def _label_counts(connection: Connection, primary: str | None) -> list[LabelCount]:
    """Labels that were asked for, and imported ones of the primary level; no audits."""
    query = (
        select(
            iteration.c.number,
            label_count.c.split,
            label_count.c.state,
            func.sum(label_count.c.n).label("n"),
            level_of_theory.c.name.label("level"),
        )
        .join(level_of_theory, level_of_theory.c.id == label_count.c.lot_id)
        .outerjoin(iteration, iteration.c.id == label_count.c.iteration_id)
        .where(
            iteration.c.id.is_not(None) | (level_of_theory.c.name == primary),
            ~level_of_theory.c.name.endswith(AUDIT),
        )
        .group_by(
            iteration.c.number,
            label_count.c.split,
            label_count.c.state,
            level_of_theory.c.name,
        )
    )
    return [
        (number, split, state, int(n), primary in (None, level))
        for number, split, state, n, level in connection.execute(query)
    ]


def _primary(config: Mapping[str, Any]) -> str | None:
    name: str | None = dict(config.get("label") or {}).get("primary")
    return name


def _overlap(config: Mapping[str, Any]) -> bool:
    """Whether an iteration may begin while others are open."""
    return bool(dict(config.get("loop") or {}).get("mode") == "asynchronous")


def _put_aside(connection: Connection, primary: str | None) -> Counter[str]:
    """Number of current labels of the primary level that are not trusted, by split."""
    place = campaign_structure
    query = (
        select(place.c.split, func.count().label("n"))
        .join(label, label.c.structure_id == place.c.structure_id)
        .join(level_of_theory, level_of_theory.c.id == label.c.lot_id)
        .where(label.c.id.in_(snapshots.PUT_ASIDE), label.c.superseded_by.is_(None))
        .group_by(place.c.split)
    )
    if primary is not None:
        query = query.where(level_of_theory.c.name == primary)
    return Counter({row.split: row.n for row in connection.execute(query)})


def _total(
    counts: list[LabelCount],
    *,
    split: str | None = None,
    state: str | None = None,
) -> int:
    return sum(
        n
        for _, of_split, of_state, n, _ in counts
        if split in (None, of_split) and state in (None, of_state)
    )


def _iterations(
    connection: Connection, labels: list[LabelCount]
) -> tuple[IterationProgress, ...]:
    tasks = _task_counts(connection)
    stats = _stats(connection)
    query = (
        select(iteration, ensemble.c.generation)
        .outerjoin(ensemble, ensemble.c.id == iteration.c.ensemble_id)
        .order_by(iteration.c.number)
    )
    rows = connection.execute(query).all()
    states: Counter[tuple[int | None, str]] = Counter()
    for number, _, state, n, _ in labels:
        states[number, state] += n
    rounds = {row.id: _rounds(connection, row) for row in rows if row.ended is None}
    return tuple(
        IterationProgress(
            number=row.number,
            phase=row.phase,
            ended=row.ended is not None,
            tasks=tasks.get(row.id, {}),
            n_rounds=rounds.get(row.id, (0, 0))[0],
            n_flagged=rounds.get(row.id, (0, 0))[1]
            if row.n_flagged is None
            else row.n_flagged,
            n_candidates=row.n_candidates,
            n_selected=row.n_selected or 0,
            n_pending=states[row.number, ItemState.PENDING],
            n_labelled=states[row.number, ItemState.OK],
            n_failed=states[row.number, ItemState.FAILED],
            stats=stats.get(row.id, {}),
            generation=row.generation,
        )
        for row in rows
    )


def _task_counts(connection: Connection) -> dict[int, dict[str, dict[str, int]]]:
    counts: dict[int, dict[str, dict[str, int]]] = {}
    columns = (task_count.c.iteration_id, task_count.c.kind, task_count.c.state)
    query = select(*columns, task_count.c.n).where(task_count.c.n > 0)
    for iteration_id, kind, state, n in connection.execute(query):
        counts.setdefault(iteration_id, {}).setdefault(kind, {})[state] = n
    return counts


def _stats(connection: Connection) -> dict[int, dict[str, float]]:
    stats: dict[int, dict[str, float]] = {}
    columns = (iteration_stat.c.iteration_id, iteration_stat.c.name, iteration_stat.c.value)
    for iteration_id, name, value in connection.execute(select(*columns)):
        stats.setdefault(iteration_id, {})[name] = value
    return stats


def _rounds(connection: Connection, row: AnyRow) -> tuple[int, int]:
    """Rounds of sample tasks of an iteration, and the flagged trajectories they report."""
    query = select(task.c.key, task.c.outcome_json).where(
        task.c.iteration_id == row.id, task.c.kind == SAMPLE
    )
    prefixes, n_flagged = set(), 0
    for one in connection.execute(query):
        prefixes.add(one.key.rpartition("/")[0])
        outcome = from_json_text(one.outcome_json) or {"values": {}}
        n_flagged += int(outcome["values"].get("n_flagged", 0))
    return len(prefixes), n_flagged


def _generations(connection: Connection) -> tuple[GenerationProgress, ...]:
    metrics: dict[int, dict[str, float]] = defaultdict(dict)
    for row in connection.execute(select(ensemble_metric)):
        metrics[row.ensemble_id][f"{row.split}.{row.name}"] = nan_if_none(row.value)
    query = (
        select(
            ensemble.c.id,
            ensemble.c.generation,
            ensemble.c.state,
            ensemble.c.relation,
            snapshot.c.n_train,
        )
        .join(snapshot, snapshot.c.id == ensemble.c.snapshot_id)
        .order_by(ensemble.c.generation)
    )
    put_aside = snapshots.put_aside(connection)
    asked = {
        number: {name.partition(".")[0] for name in named}
        for number, named in metrics.items()
    }
    return tuple(
        GenerationProgress(
            number=row.generation,
            state=row.state,
            relation=row.relation,
            n_train=row.n_train,
            n_put_aside=put_aside[row.generation],
            metrics=metrics[row.id],
            has_test_predictions="test" in asked.get(row.id, ()),
            has_new_predictions="new" in asked.get(row.id, ()),
        )
        for row in connection.execute(query)
    )


def manager_status(connection: Connection) -> ManagerStatus:
    """Who runs the campaign, by the clock of the database."""
    row = connection.execute(select(manager_lease)).one()
    if row.holder is None:
        return ManagerStatus(alive=False)
    now = lease.clock(connection)
    silent = max(0.0, now - row.renewed)
    return ManagerStatus(
        lease.is_alive(row, now),
        row.holder,
        row.host,
        row.pid,
        silent,
        row.expires == 0,
        row.renewed,
    )


def _events(connection: Connection) -> list[dict[str, Any]]:
    query = select(event).order_by(event.c.id.desc()).limit(N_EVENTS)
    return [
        {
            "ts": row.ts,
            "kind": row.kind,
            "severity": row.severity,
            "subject": row.subject,
            "data": from_json_text(row.data_json),
        }
        for row in connection.execute(query)
    ]
