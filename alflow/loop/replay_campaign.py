"""Replays the decisions of a campaign from its database alone; nothing is written."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from alflow.config.campaign import CampaignSettings
from alflow.config.overrides import Override, overridden
from alflow.core.canonical import canonical_json
from alflow.core.errors import StoreError
from alflow.loop.effects import PAST_READ
from alflow.loop.replay import Replayed, replay_all
from alflow.loop.replay_stopping import FalseStops, Judgement, false_stops, judgements
from alflow.store import Store
from alflow.store.past import past_iterations
from alflow.store.replaying import ended_iterations, selections
from alflow.store.views import progress

REPLAYED = ("acquire", "stop", "loop.max_iterations")
"""Settings that decide about what there is, at or below these."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The decisions of a campaign, made once more.

    Attributes:
        selections: What was and would have been chosen, by iteration.
        judgements: When it ended and would have ended, by iteration.
        has_changes: Whether other settings than the real ones were asked about.
    """

    selections: tuple[Replayed, ...]
    judgements: tuple[Judgement, ...]
    has_changes: bool

    @property
    def is_exact(self) -> bool:
        """Whether every decision came out as it is in the database, at the real settings."""
        return not any(one.differences for one in self.selections)

    @property
    def stop(self) -> Judgement | None:
        """The first iteration after which it would have ended; None if it would go on."""
        return next((one for one in self.judgements if one.now is not None), None)

    @property
    def false_stops(self) -> FalseStops:
        """How often it was called converged, and what came of it."""
        return false_stops(self.judgements)

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict."""
        stop = self.stop
        counts = self.false_stops
        return {
            "reproduced": self.is_exact,
            "changed": self.has_changes,
            "selections": [one.to_json() for one in self.selections],
            "stop": None if stop is None else stop.to_json(),
            "judgements": [one.to_json() for one in self.judgements],
            "false_stops": {**asdict(counts), "rate": counts.rate},
        }


def replay(
    store: Store, overrides: Sequence[Override] = (), iteration: int | None = None
) -> Replay:
    """Make the decisions of a campaign once more, at its real settings and at others.

    Args:
        store: The store; reading is enough.
        overrides: Settings that are changed.
        iteration: Only what was chosen in this iteration; stop rules see all.

    Raises:
        SettingsError: If the changed settings are not valid.
        StoreError: If there is nothing to replay, or something that it needs is not there.
    """
    past, view = past_iterations(store), progress(store)
    with store.read() as connection:
        chosen, ended = selections(connection), ended_iterations(connection)
    both = _Both(overrides)
    if overrides:  # what is wrong with them comes before that there is nothing to do
        both.of(store.campaign().config)
    _check_there(chosen, iteration)
    found = replay_all(
        [one for one in chosen if iteration in (None, one.iteration)],
        {one.iteration: both.of(one.config) for one in chosen},
        past,
        PAST_READ,
    )
    told = judgements(
        view,
        ended,
        {one.iteration: both.of(one.config) for one in ended},
        past,
        {one.iteration: one.generation for one in chosen},
    )
    return Replay(tuple(found), tuple(told), bool(overrides))


def _check_there(chosen: Sequence[Any], iteration: int | None) -> None:
    numbers = [one.iteration for one in chosen]
    if not numbers:
        raise StoreError(
            "no iteration of this campaign has chosen anything yet",
            consequence="Nothing was replayed.",
            next_step="how far it is: alflow status",
        )
    if iteration is not None and iteration not in numbers:
        raise StoreError(
            f"iteration i{iteration} has not chosen anything; there are "
            f"{', '.join(f'i{one}' for one in numbers)}"
        )


class _Both:
    """Settings that were in force and those that are asked about, each made once."""

    def __init__(self, overrides: Sequence[Override]) -> None:
        self._overrides = overrides
        self._known: dict[str, tuple[CampaignSettings, CampaignSettings]] = {}

    def of(self, config: Mapping[str, Any]) -> tuple[CampaignSettings, CampaignSettings]:
        """Both, from what the store has kept."""
        name = canonical_json(dict(config))
        if name not in self._known:
            real = overridden(config, ())
            asked = overridden(config, self._overrides) if self._overrides else real
            self._known[name] = real, asked
        return self._known[name]
