"""What is said about costs of labels and the time that is left: values, and the same in words."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class LevelCost:
    """What labels of a level cost.

    Attributes:
        level: Name of the level.
        n_measured: Number of measured labels, at most the latest few thousand.
        median_core_s: What half of them stay below [core-seconds].
        upper_core_s: What 90 % of them stay below [core-seconds].
        ratio: What the newest quarter cost, over what those before it foretold; None if they are
            too few.
    """

    level: str
    n_measured: int
    median_core_s: float
    upper_core_s: float
    ratio: float | None


@dataclass(frozen=True, slots=True)
class LabelsLeft:
    """Labels that are asked for and not there.

    Attributes:
        iteration: Number of the iteration.
        level: Name of their level.
        n: How many.
        core_s: What they will cost [core-seconds]; None if that is not basis.
        cores: Cores that were busy with such labels so far, on average; None if not basis.
        done_by: When they will be there at that rate [s since 1970, UTC]; None if not basis.
    """

    iteration: int
    level: str
    n: int
    core_s: float | None = None
    cores: float | None = None
    done_by: float | None = None


@dataclass(frozen=True, slots=True)
class CampaignLeft:
    """What is left of a campaign that no criterion ends before its limits.

    Attributes:
        n_labels: Labels that may still be asked for.
        n_iterations: Iterations that this takes.
        core_s: What those labels will cost [core-seconds].
        done_by: When all will be done [s since 1970, UTC]; None while nobody runs the campaign.
        measured: Number of iterations whose times this follows from.
    """

    n_labels: int
    n_iterations: int
    core_s: float
    done_by: float | None
    measured: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """Costs of labels so far, and of those that are left.

    Attributes:
        levels: Measured costs by level.
        labels: Labels on their way, by level.
        campaign: What is left of the campaign; None if that cannot be told.
    """

    levels: tuple[LevelCost, ...] = ()
    labels: tuple[LabelsLeft, ...] = ()
    campaign: CampaignLeft | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """The same in words, a line for each."""
        return [*(_about_level(one) for one in self.levels), *self.outlook()]

    def outlook(self) -> list[str]:
        """What is said of the labels that are left, a line for each."""
        lines = [_about_labels(one) for one in self.labels if one.core_s is not None]
        return lines + ([] if self.campaign is None else [_about_campaign(self.campaign)])


def _about_level(one: LevelCost) -> str:
    text = (
        f"cost of a label at {one.level}: {one.median_core_s:.3g} core-s in the median, 90 % below "
        f"{one.upper_core_s:.3g} core-s ({one.n_measured} measured)"
    )
    return text if one.ratio is None else f"{text}; measured / predicted {one.ratio:.2f}"


def _about_labels(one: LabelsLeft) -> str:
    hours = (one.core_s or 0.0) / _HOUR_S
    text = f"labels left in i{one.iteration} at {one.level}: {one.n}, about {hours:.2g} core-hours"
    if one.done_by is not None:
        text += (
            f", done by {_moment(one.done_by)} at the rate so far ({one.cores:.2g} cores)"
        )
    return text


def _about_campaign(one: CampaignLeft) -> str:
    text = (
        f"if no criterion ends it before: {one.n_labels} more labels in "
        f"{_iterations(one.n_iterations)}, about {one.core_s / _HOUR_S:.2g} core-hours"
    )
    if one.done_by is None:
        return text
    pace = f"at the pace of {_iterations(one.measured)} so far"
    return f"{text}, done by {_moment(one.done_by)} {pace}"


def _iterations(n: int) -> str:
    return "1 iteration" if n == 1 else f"{n} iterations"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
