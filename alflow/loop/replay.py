"""What acquisition would have chosen with other settings: pure, from what the store kept.

Each iteration is replayed by itself, with the history that it really had: which frames there were,
which labels were known, what labels had taught. What a trajectory would have met after the frame
at which it ended, nobody knows; what is missing for that is counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from alflow.config.campaign import CampaignSettings
from alflow.core.past import Checked, PastIteration
from alflow.core.sampling import Candidate, Decision, Gate, Limit, Selection, Verdict
from alflow.core.seeds import child_seed
from alflow.loop.batches import Batches
from alflow.store.replaying import Kept, Path, Selected

FLAGGED = "flagged"


@dataclass(frozen=True, slots=True)
class Unknown:
    """What another gate would have done that the kept frames do not show.

    Attributes:
        n_going_on: Flagged frames that would not be flagged: their trajectories would go on.
        n_earlier: Trajectories that would have been flagged at an earlier frame, which was not
            kept; the one that was kept stands in for it.
        n_not_kept: Trajectories of which no frame was kept that would have been flagged in them.
        n_drawn: Audit frames that would have been flagged; they count as flagged.
        n_not_reached: Flagged frames that come after such an audit frame.
    """

    n_going_on: int = 0
    n_earlier: int = 0
    n_not_kept: int = 0
    n_drawn: int = 0
    n_not_reached: int = 0

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return any(asdict(self).values())


@dataclass(frozen=True, slots=True)
class Pool:
    """The frames that a gate leaves to choose from.

    Attributes:
        candidates: Candidates.
        unknown: What is not among them.
    """

    candidates: tuple[Candidate, ...]
    unknown: Unknown = field(default_factory=Unknown)

    @property
    def n_flagged(self) -> int:
        """Number of flagged candidates."""
        return sum(one.reason == FLAGGED for one in self.candidates)


@dataclass(frozen=True, slots=True)
class Difference:
    """A candidate about which something else was decided.

    Attributes:
        id: Hash of its structure.
        then: The verdict that is in the database; None if there is none.
        now: The verdict of the replay; None if it was not considered.
    """

    id: str
    then: Verdict | None
    now: Verdict | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """One iteration, really and with the settings that were asked about.

    Attributes:
        iteration: Its number.
        generation: The generation that sampled.
        n_candidates: Frames that were considered, really.
        n_flagged: Those of them that the real gate flagged.
        n_flagged_now: Frames that the other gate would have flagged, of those that were kept.
        budget: Labels that it could ask for, really.
        budget_now: Labels that it could have asked for.
        chosen: Ids of the candidates that were chosen, by rank.
        chosen_now: Ids of those that would have been, by rank.
        gate: Limits that it sampled with, in its first round.
        gate_now: Limits that it would have sampled with, likewise.
        unknown: What the kept frames do not show.
        differences: Verdicts of the replay at the real settings that are not those in the
            database; empty if it is exact.
        is_gate_reproduced: Whether what the database says now about earlier labels leads to the
            real gate. It does not where labels were put aside since.
    """

    iteration: int
    generation: int
    n_candidates: int
    n_flagged: int
    n_flagged_now: int
    budget: int
    budget_now: int
    chosen: tuple[str, ...]
    chosen_now: tuple[str, ...]
    gate: Gate
    gate_now: Gate
    unknown: Unknown
    differences: tuple[Difference, ...]
    is_gate_reproduced: bool

    @property
    def n_common(self) -> int:
        """Number of candidates that are chosen in both."""
        return len({*self.chosen} & {*self.chosen_now})

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict."""
        then, now = {*self.chosen}, {*self.chosen_now}
        return {
            **asdict(self),
            "n_common": self.n_common,
            "only_then": [one for one in self.chosen if one not in now],
            "only_now": [one for one in self.chosen_now if one not in then],
        }


def replayed(
    then: Selected,
    real: CampaignSettings,
    asked: CampaignSettings,
    past: Sequence[PastIteration],
) -> Replayed:
    """Choose once more, at the real settings and at others.

    Args:
        then: What acquisition had before it, and what it decided.
        real: The settings that were in force.
        asked: The settings that are asked about.
        past: What earlier iterations had taught, as far as rules are told.
    """
    batches, asked_batches = Batches.of(real), Batches.of(asked)
    budget = then.n_places
    if budget is None:
        budget = batches.places(then.n_requested)
    own = tuple(one.candidate for one in then.kept)
    found = _select(then, own, real, budget, then.gate)
    is_same_rule = asked.acquire == real.acquire
    gates = then.gates if is_same_rule else _gates(then, asked, past)
    is_same_budget = is_same_rule and asked_batches == batches
    budget_now = budget if is_same_budget else asked_batches.places(then.n_requested)
    pool = Pool(own)
    if gates != then.gates:
        pool = judged(then.kept, then.paths, then.gates, gates)
    gate_now = gates[then.first_round]
    now = found
    if not (is_same_rule and is_same_budget):
        now = _select(then, pool.candidates, asked, budget_now, gate_now)
    return Replayed(
        then.iteration,
        then.generation,
        *(len(own), Pool(own).n_flagged, pool.n_flagged, budget, budget_now),
        ranked(then.verdicts),
        ranked(now),
        then.gate,
        gate_now,
        pool.unknown,
        differences(then.verdicts, found),
        _gates(then, real, past) == then.gates,
    )


def _gates(
    then: Selected, settings: CampaignSettings, past: Sequence[PastIteration]
) -> tuple[Gate, ...]:
    """The gates of each round that settings lead to."""
    rule = settings.acquire.create()
    return tuple(rule.gate(then.generation, past, k) for k in range(len(then.gates)))


def _select(
    then: Selected,
    candidates: Sequence[Candidate],
    settings: CampaignSettings,
    budget: int,
    gate: Gate,
) -> Selection:
    seed = selection_seed(settings, then.iteration)
    verdicts: Selection = settings.acquire.create().select(candidates, budget, seed, gate)
    return verdicts


def selection_seed(settings: CampaignSettings, iteration: int) -> int:
    """Seed of the random choices of an iteration's acquisition."""
    return child_seed(settings.seed, f"select/i{iteration}")


def ranked(verdicts: Selection) -> tuple[str, ...]:
    """Ids of what was selected, by rank."""
    ranks = {
        name: one.rank or 0
        for name, one in verdicts.items()
        if one.decision is Decision.SELECTED
    }
    return tuple(sorted(ranks, key=lambda name: (ranks[name], name)))


def differences(then: Selection, now: Selection) -> tuple[Difference, ...]:
    """Candidates whose decision, reason or rank are not the same."""
    return tuple(
        Difference(name, then.get(name), now.get(name))
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    )


def past_of(
    past: Sequence[PastIteration], then: Selected, window: int
) -> list[PastIteration]:
    """What a rule was told about earlier iterations: the labels of the last ones.

    Args:
        past: All iterations with all their labels, in order.
        then: The iteration that is about to sample.
        window: Number of the last iterations whose labels a rule is told about.
    """
    earlier = [
        one
        for one in past
        if one.number < then.iteration and (then.known is None or one.number in then.known)
    ]
    n_older = max(0, len(earlier) - window)
    older = [replace(one, checked=Checked.none()) for one in earlier[:n_older]]
    return [*older, *earlier[n_older:]]


def judged(
    kept: Sequence[Kept],
    paths: Sequence[Path],
    before: Sequence[Gate],
    now: Sequence[Gate],
) -> Pool:
    """The frames that another gate leaves to choose from, as far as they were kept.

    Where time passes, a trajectory ends at its first flagged frame.

    Args:
        kept: Frames that were kept with the real gates.
        paths: All trajectories.
        before: The real gates, one for each round of sampling.
        now: The other ones.
    """
    by_path: dict[int, list[Kept]] = {one.id: [] for one in paths}
    for one in kept:
        by_path[one.trajectory_id].append(one)
    scales = [k.candidate.spread.force_scale for k in kept]
    usual = float(np.median([s for s in scales if np.isfinite(s)] or [0.0]))
    counts = dict.fromkeys(asdict(Unknown()), 0)
    found: list[Candidate] = []
    for path in paths:
        frames = sorted(by_path[path.id], key=lambda one: one.step)
        gate = now[path.sampling_round]
        found += _along(path, frames, gate, counts)
        own = [f.candidate.spread.force_scale for f in frames]
        scale = max([s for s in own if np.isfinite(s)], default=usual)
        first = _first_beyond(path, before[path.sampling_round], gate, scale)
        _count_traced(path, frames, first, gate, counts)
    return Pool(tuple(found), Unknown(**counts))


def _along(
    path: Path, frames: Sequence[Kept], gate: Gate, counts: dict[str, int]
) -> list[Candidate]:
    """Candidates of one trajectory at another gate."""
    found: list[Candidate] = []
    has_ended = False
    for frame in frames:
        one = frame.candidate
        if has_ended:
            counts["n_not_reached"] += one.reason == FLAGGED
            continue
        measure = _measure(path, frame, gate)
        if measure is not None:
            counts["n_drawn"] += one.reason != FLAGGED
            found.append(replace(one, reason=FLAGGED, measure=measure))
            has_ended = path.is_timed
        elif one.reason == FLAGGED:
            counts["n_going_on"] += 1
        else:
            found.append(one)
    return found


def _measure(path: Path, frame: Kept, gate: Gate) -> str | None:
    if path.is_timed and frame.time_fs < gate.grace_fs:
        return None
    return gate.exceeded(frame.candidate.spread)


def _first_beyond(path: Path, before: Gate, now: Gate, scale: float) -> float | None:
    """When the trace first tells of a frame that only the other gate flags; None if never.

    The trace has no mean force, which limits may grow with: that of kept frames stands for it.
    """
    clock = np.asarray(path.trace.get("time_fs", path.trace.get("step", [])), np.float64)
    beyond = np.zeros(len(clock), bool)
    columns = ("energy", "energy_spread"), ("force_max", "force_spread_max")
    for measure, column in columns:
        limit: Limit | None = getattr(now, measure)
        if limit is None or not _is_tighter(before, now, measure):
            continue
        values = np.asarray(path.trace.get(column, []), np.float64)
        if len(values) == len(clock):
            beyond |= values > limit.at(scale)
    if path.is_timed:
        beyond &= clock >= now.grace_fs
    return float(clock[beyond][0]) if beyond.any() else None


def _is_tighter(before: Gate, now: Gate, measure: str) -> bool:
    """Whether a gate may flag by this measure what another one did not."""
    old: Limit | None = getattr(before, measure)
    new: Limit | None = getattr(now, measure)
    if new is None:
        return False
    if old is None or now.grace_fs < before.grace_fs:
        return True
    return new.base < old.base or new.per_force < old.per_force


def _count_traced(
    path: Path,
    frames: Sequence[Kept],
    first: float | None,
    gate: Gate,
    counts: dict[str, int],
) -> None:
    """Note that a trace tells of flagged frames which were not kept."""
    if first is None:
        return
    flagged = [one for one in frames if _measure(path, one, gate) is not None]
    if flagged:
        end = flagged[0].time_fs if path.is_timed else flagged[0].step
    elif path.is_flagged:  # by a frame of a structure that another frame stands for
        end = path.time_fs if path.is_timed else path.n_steps
    else:
        counts["n_not_kept"] += 1
        return
    counts["n_earlier"] += first < end


Settings = Mapping[int, tuple[CampaignSettings, CampaignSettings]]
"""The settings that were in force and those that are asked about, by iteration."""


def replay_all(
    then: Sequence[Selected],
    settings: Settings,
    past: Sequence[PastIteration],
    window: int,
) -> list[Replayed]:
    """Replay selections one by one.

    Args:
        then: Selections.
        settings: The settings of each.
        past: All iterations that sampled and have ended, with all their labels.
        window: Number of the last iterations whose labels a rule is told about.
    """
    return [
        replayed(one, *settings[one.iteration], past_of(past, one, window)) for one in then
    ]
