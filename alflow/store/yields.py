"""What each arm of a mixture of samplers brought in, for what it cost."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import Connection, func, select

from alflow.core.sampling import Decision
from alflow.store.rows import ItemState
from alflow.store.schema import (
    candidate,
    iteration,
    iteration_stat,
    label_item,
    task,
    trajectory,
)
from alflow.store.store import Store

PREFIX = "arm"
"""Statistics of an iteration about its arms are called `arm.NAME.COUNT`."""

MILLION = 1e6


@dataclass(frozen=True, slots=True)
class ArmYield:
    """What one arm did in one iteration.

    Attributes:
        iteration: Number of the iteration.
        arm: Name of the arm.
        n_tasks: Sample tasks that ran it to the end.
        n_trajectories: Their trajectories.
        n_flagged: Those that ended at a flagged frame.
        n_accepted: Flagged frames that were chosen and labelled.
        atom_steps: What it cost: steps, the start counted as one, times atoms, added up.
    """

    iteration: int
    arm: str
    n_tasks: float = 0.0
    n_trajectories: float = 0.0
    n_flagged: float = 0.0
    n_accepted: float = 0.0
    atom_steps: float = 0.0

    @property
    def per_million(self) -> float:
        """Accepted frames for every million atom-steps; NaN where nothing was simulated."""
        cost = self.atom_steps / MILLION
        return self.n_accepted / cost if cost else float("nan")

    def to_statistics(self) -> dict[str, float]:
        """The counts as statistics of the iteration, by name."""
        counts: dict[str, Any] = asdict(self)
        del counts["iteration"], counts["arm"]
        return {f"{PREFIX}.{self.arm}.{name}": value for name, value in counts.items()}


def rate_text(rate: float) -> str:
    """A yield with three digits, without an exponent where it is large."""
    return f"{rate:.3g}" if rate < 999.5 else f"{rate:.0f}"  # noqa: PLR2004


def arm_yields(number: int, statistics: Mapping[str, float]) -> tuple[ArmYield, ...]:
    """The arms of an iteration by name, from its statistics; none if it had no mixture."""
    known = {field.name for field in fields(ArmYield)} - {"iteration", "arm"}
    found: dict[str, dict[str, float]] = {}
    for name, value in statistics.items():
        head, _, rest = name.partition(".")
        arm, _, count = rest.rpartition(".")
        if head == PREFIX and count in known:
            found.setdefault(arm, {})[count] = value
    return tuple(ArmYield(number, arm, **found[arm]) for arm in sorted(found))


def all_yields(connection: Connection) -> tuple[ArmYield, ...]:
    """What every arm did in every iteration that has ended, by iteration and name."""
    query = (
        select(iteration.c.number, iteration_stat.c.name, iteration_stat.c.value)
        .join(iteration, iteration.c.id == iteration_stat.c.iteration_id)
        .where(iteration_stat.c.name.startswith(f"{PREFIX}.", autoescape=True))
    )
    statistics: dict[int, dict[str, float]] = {}
    for number, name, value in connection.execute(query):
        statistics.setdefault(number, {})[name] = value
    return tuple(
        one
        for number in sorted(statistics)
        for one in arm_yields(number, statistics[number])
    )


def n_accepted(store: Store, number: int) -> dict[str, int]:
    """Flagged frames of an iteration that were chosen and labelled, by key of their task.

    Frames drawn at random for the audit do not count: no sampler has earned them.
    """
    query = (
        select(task.c.key, func.count(candidate.c.id.distinct()))
        .select_from(
            candidate.join(iteration, iteration.c.id == candidate.c.iteration_id)
            .join(trajectory, trajectory.c.id == candidate.c.trajectory_id)
            .join(task, task.c.id == trajectory.c.task_id)
            .join(label_item, label_item.c.structure_id == candidate.c.structure_id)
        )
        .where(
            iteration.c.number == number,
            candidate.c.reason == "flagged",
            candidate.c.decision == Decision.SELECTED,
            label_item.c.state == ItemState.OK,
        )
        .group_by(task.c.key)
    )
    with store.read() as connection:
        return {key: int(n) for key, n in connection.execute(query)}
