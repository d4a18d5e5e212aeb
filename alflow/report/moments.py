"""The moment that a report is about: now, or the end of an iteration that is past."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from alflow.core.canonical import digest_of
from alflow.core.errors import SettingsError
from alflow.store import CampaignState, history


@runtime_checkable
class _OfIteration(Protocol):
    @property
    def iteration(self) -> int: ...


_Row = TypeVar("_Row", bound=_OfIteration)


@dataclass(frozen=True, slots=True)
class Moment:
    """Of when a report is.

    Attributes:
        iteration: The last iteration that counts; None for all.
        time: When it ended [s since 1970, UTC]; None for now.
    """

    iteration: int | None = None
    time: float | None = None

    def has(self, number: int | None) -> bool:
        """Whether an iteration, or its generation, is there by then; None stands for neither."""
        return self.iteration is None or number is None or number <= self.iteration

    def of(self, rows: Iterable[_Row]) -> list[_Row]:
        """Those rows that are of iterations that count."""
        return [row for row in rows if self.has(row.iteration)]

    def of_attempts(self, rows: Iterable[history.Try]) -> list[history.Try]:
        """Attempts that had begun; those that ended later run still."""
        if self.time is None:
            return list(rows)
        return [
            row if row.ended is not None and row.ended <= self.time else _running(row)
            for row in rows
            if row.started <= self.time
        ]


def _running(row: history.Try) -> history.Try:
    return row._replace(ended=None, wall_s=None, state="open", failure=None, message="")


def end_of(connection: Any, number: int) -> Moment:
    """The end of an iteration; of the last one it is now, with the end of the campaign.

    Raises:
        SettingsError: If there is no such iteration, or it has not ended.
    """
    rows = {row.number: row for row in history.iterations(connection)}
    row = rows.get(number)
    if row is None or row.ended is None:
        what = "there is no" if row is None else "not ended:"
        ended = [f"i{one.number}" for one in rows.values() if one.ended is not None]
        raise SettingsError(
            f"{what} iteration i{number}",
            next_step=f"iterations that have ended: {', '.join(ended) or 'none'}",
        )
    return Moment(number, None if number == max(rows) else row.ended)


def seen_at(connection: Any, overview: history.Overview, then: Moment) -> history.Overview:
    """What was known about the campaign at a moment."""
    if then.time is None:
        return overview
    settings = history.settings_before(connection, then.time)
    found = overview._replace(
        state=CampaignState.RUNNING, verdict="", as_of=min(overview.as_of, then.time)
    )
    if settings is None:
        return found
    return found._replace(config=settings, config_sha=digest_of(dict(settings)))
