"""What has changed from one look at a campaign to the next, a line for each. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alflow.cli.moments import ago, coarse
from alflow.cli.status import verdict

if TYPE_CHECKING:
    from alflow.loop.watching import Seen, Stage
    from alflow.store.standing import Trouble

STAGE_LINE_S = 10.0
"""Shortest time between two lines about one stage that is not done [s]."""


FAILURES = {
    "task-requeued": "tried again",
    "task-failed": "failed",
    "task-quarantined": "failed, given up",
}
"""Kinds of events that tell of a failure, in words."""


def trouble_text(one: "Trouble") -> str:
    """A warning or an error in one line."""
    why = f": {one.text}" if one.text else ""
    return f"{one.subject} {FAILURES.get(one.kind, one.kind)}{why}"


def stage_text(stage: "Stage") -> str:
    """How far a stage is, for example `label 38/64 ok=36 failed=2 left~7min`."""
    text = f"{stage.kind} {stage.n_done}/{stage.n}"
    if stage.n_failed:
        text += f" ok={stage.n_done - stage.n_failed} failed={stage.n_failed}"
    if stage.left_s is not None:
        text += f" left{coarse(stage.left_s).replace(' ', '')}"
    return text


def heartbeat(seen: "Seen", database: str) -> str:
    """All in one line: how the campaign stands, its stages, its workers, its manager."""
    view = seen.standing
    where = "not begun" if view.iteration is None else f"i{view.iteration}"
    stages = [stage_text(one) for one in seen.stages if one.n_running or one.n_waiting]
    busy, n = sum(one.n_busy for one in seen.pools), sum(one.n for one in seen.pools)
    workers = [f"{busy} of {n} workers busy"] if n else []
    manager = view.manager
    silent = (
        "" if manager.silent_s is None else f", last sign of life {ago(manager.silent_s)}"
    )
    who = [f"{manager.holder}{silent}"] if manager.holder else []
    return " · ".join([where, verdict(view, database), *stages, *workers, *who])


@dataclass(slots=True)
class Changes:
    """Tells what is new; it remembers what it has told.

    Attributes:
        database: The database, as a user types it.
    """

    database: str
    _last: "Seen | None" = None
    _told: dict[str, tuple[str, float]] = field(default_factory=dict)
    _trouble: int = 0
    _label: "Trouble | None" = None

    def since(self, seen: "Seen") -> list[str]:
        """Lines about what is new since the last call; the first one tells how it stands."""
        view, last = seen.standing, self._last
        self._last = seen
        newest = max((one.id for one in view.troubles), default=0)
        news = [one for one in view.troubles[::-1] if one.id > self._trouble]
        self._trouble = max(newest, self._trouble)
        label, self._label = self._label, view.failed_label
        if last is None:
            self._told = {one.kind: (stage_text(one), seen.now) for one in seen.stages}
            return [heartbeat(seen, self.database)]
        before = last.standing
        lines = [trouble_text(one) for one in news]
        if view.failed_label and (
            label is None or label.subject != view.failed_label.subject
        ):
            lines.append(f"no label: {trouble_text(view.failed_label)}")
        if before.iteration != view.iteration:
            self._told.clear()
        lines += self._stages(seen)
        for number, phase in view.under_way.items():
            if before.under_way.get(number) != phase:
                lines.append(f"i{number} {phase}")
        if view.generation is not None and before.generation != view.generation:
            lines.append(f"g{view.generation} is ready")
        told = verdict(view, self.database)
        if told != verdict(before, self.database):
            lines.append(told)
        return lines

    def _stages(self, seen: "Seen") -> list[str]:
        return [
            line
            for stage in seen.stages
            if (line := self._stage(stage, self._told, seen.now))
        ]

    def _stage(
        self, stage: "Stage", told: Mapping[str, tuple[str, float]], now: float
    ) -> str:
        """A line about a stage where it has moved on and is done, or the last line is old."""
        counts = f"{stage.n_done}/{stage.n} {stage.n_failed}"
        last, when = told.get(stage.kind, ("", 0.0))
        is_done = stage.n_done == stage.n
        if counts == last or (now - when < STAGE_LINE_S and not is_done):
            return ""
        self._told[stage.kind] = (counts, now)
        return stage_text(stage)
