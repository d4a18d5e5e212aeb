"""When a campaign would have ended with other settings, and whether that had been right: pure.

Whether it was is told by what came later: the generation that would have been the last one sampled
the next iteration, and the frames drawn at random there have got labels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from alflow.acquisition.calibrated import CalibratedSettings
from alflow.config.campaign import AuditBoundSettings, CampaignSettings
from alflow.core.past import Checked, PastIteration
from alflow.loop.calibration import audited
from alflow.loop.promotion import ordinary
from alflow.loop.serving import serving
from alflow.loop.stopping import FORCE_RMSE, N_AUDITED, N_BEYOND, StopVerdict, judge
from alflow.store.replaying import Ended
from alflow.store.views import IterationProgress, Progress

CONVERGED = "converged"
USUAL_SHARE = 0.2
"""Share of frames that may be beyond a tolerance where the settings name none."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Errors of a frame that are fine, and the share of frames that may be beyond.

    Attributes:
        force: Mean over atoms of the norm of the error [eV/Å]; infinite where it does not count.
        force_growth: Its growth with the mean force [eV/Å per eV/Å].
        energy: Error of the energy by the root of the number of atoms [eV]; likewise.
        energy_growth: Its growth with the mean force [eV per eV/Å].
        share: Share of frames.
        source: The setting that it comes from.
    """

    force: float
    force_growth: float
    energy: float
    energy_growth: float
    share: float
    source: str

    def n_beyond(self, checked: Checked) -> int:
        """Number of frames drawn at random that are beyond; a number that is not finite is."""
        drawn = checked.is_audit
        scale = np.nan_to_num(checked.force_scale[drawn])
        is_beyond = ~(
            checked.energy_error[drawn] <= self.energy + self.energy_growth * scale
        )
        has_forces = np.isfinite(checked.force_error[drawn])
        limit = self.force + self.force_growth * scale
        is_beyond |= has_forces & ~(checked.force_error[drawn] <= limit)
        return int(is_beyond.sum())


@dataclass(frozen=True, slots=True)
class Later:
    """What was measured after an iteration about the generation that it ended with.

    Attributes:
        generation: That generation.
        n_audited: Its frames drawn at random later that have a label.
        n_beyond: Those of them that are beyond the tolerance; None if there is none.
        force_error: Mean error of their forces [eV/Å]; None without them.
        test_force_rmse: Its force RMSE on the test set [eV/Å]; None where it was not tested.
        best_test_force_rmse: The best one of later generations [eV/Å]; likewise.
        tolerance: The tolerance; None if the settings name none.
    """

    generation: int
    n_audited: int
    n_beyond: int | None
    force_error: float | None
    test_force_rmse: float | None
    best_test_force_rmse: float | None
    tolerance: Tolerance | None

    @property
    def is_right(self) -> bool | None:
        """Whether no more frames were beyond than may be; None if nothing tells."""
        if self.n_beyond is None or self.tolerance is None or not self.n_audited:
            return None
        return self.n_beyond <= self.tolerance.share * self.n_audited


@dataclass(frozen=True, slots=True)
class Judgement:
    """What stop rules say after an iteration.

    Attributes:
        iteration: Its number.
        then: With the settings that were in force; None: it goes on.
        now: With those that are asked about.
        later: What is known by now, where the latter say that it is converged.
    """

    iteration: int
    then: StopVerdict | None
    now: StopVerdict | None
    later: Later | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict."""
        is_right = None if self.later is None else self.later.is_right
        return {**asdict(self), "is_right": is_right}


def judgements(
    progress: Progress,
    ended: Sequence[Ended],
    settings: Mapping[int, tuple[CampaignSettings, CampaignSettings]],
    past: Sequence[PastIteration],
    sampled_with: Mapping[int, int],
) -> list[Judgement]:
    """Judge a campaign after each of its iterations, as if it had got no further.

    Args:
        progress: What the store says.
        ended: Iterations that have ended.
        settings: Settings that were in force and those that are asked about, by iteration.
        past: All iterations that sampled and have ended, with all their labels.
        sampled_with: The generation that each iteration sampled with.
    """
    known = {one.iteration: one for one in ended}
    found = []
    for last in ordinary(progress).iterations:
        if last.number not in known:
            continue
        real, asked = settings[last.number]
        so_far = until(progress, known[last.number])
        then = judge(so_far, real)
        now = judge(_counted(so_far, past, real, asked), asked)
        is_converged = now is not None and now.state == CONVERGED
        later = (
            _later(so_far, progress, asked, past, sampled_with) if is_converged else None
        )
        found.append(Judgement(last.number, then, now, later))
    return found


def until(progress: Progress, ended: Ended) -> Progress:
    """What the store said when an iteration had ended, as far as stop rules look at it."""
    return replace(
        progress,
        iterations=tuple(o for o in progress.iterations if o.number <= ended.iteration),
        generations=tuple(o for o in progress.generations if o.number <= ended.iteration),
        n_requested=ended.n_requested,
        spent=ended.spent,
    )


def _counted(
    progress: Progress,
    past: Sequence[PastIteration],
    real: CampaignSettings,
    asked: CampaignSettings,
) -> Progress:
    """Frames drawn at random counted by the tolerance that is asked about, if that is another."""
    wanted = asked.stop.converged.audit
    if wanted is None or wanted == real.stop.converged.audit:
        return progress
    checked = {one.number: one.checked for one in past}

    def counted(one: IterationProgress) -> IterationProgress:
        if one.number not in checked:
            return one
        counts = audited(checked[one.number], wanted)
        kept = {name: counts[name] for name in (N_AUDITED, N_BEYOND)}
        return replace(one, stats={**one.stats, **kept})

    return replace(progress, iterations=tuple(map(counted, progress.iterations)))


def tolerance(settings: CampaignSettings) -> Tolerance | None:
    """The errors that a campaign may end with; None if its settings do not say."""
    converged, acquire = settings.stop.converged, settings.acquire
    if converged.audit is not None:
        return _audit_tolerance(converged.audit)
    if isinstance(acquire, CalibratedSettings):
        force, energy = acquire.force_tolerance_eV_per_A, acquire.energy_tolerance_meV
        numbers = (force.base, force.per_force, 1e-3 * energy.base, 1e-3 * energy.per_force)
        return Tolerance(*numbers, 1 - acquire.coverage, "the tolerance of acquire")
    if converged.force_rmse_eV_per_A is not None:
        # The mean norm of errors whose root mean square component is x is √3 x at most.
        force_limit = math.sqrt(3) * converged.force_rmse_eV_per_A
        source = "√3 × stop.converged.force_rmse_eV_per_A"
        return Tolerance(force_limit, 0.0, math.inf, 0.0, USUAL_SHARE, source)
    return None


def _audit_tolerance(wanted: AuditBoundSettings) -> Tolerance:
    force = math.inf if wanted.force_eV_per_A is None else wanted.force_eV_per_A
    energy = math.inf if wanted.energy_meV is None else 1e-3 * wanted.energy_meV
    return Tolerance(force, 0.0, energy, 0.0, wanted.share, "stop.converged.audit")


def _later(
    so_far: Progress,
    progress: Progress,
    asked: CampaignSettings,
    past: Sequence[PastIteration],
    sampled_with: Mapping[int, int],
) -> Later:
    number = so_far.iterations[-1].number
    generation = serving(so_far, number + 1)
    later = [
        one.checked
        for one in past
        if one.number > number and sampled_with.get(one.number) == generation
    ]
    drawn = sum(int(one.is_audit.sum()) for one in later)
    errors = [float(v) for one in later for v in one.force_error[one.is_audit]]
    errors = [v for v in errors if math.isfinite(v)]
    wanted = tolerance(asked)
    tested = {
        one.number: one.stats[FORCE_RMSE]
        for one in progress.iterations
        if FORCE_RMSE in one.stats
    }
    afterwards = [value for one, value in tested.items() if one > number]
    return Later(
        generation,
        drawn,
        None if wanted is None else sum(map(wanted.n_beyond, later)),
        float(np.mean(errors)) if errors else None,
        tested.get(generation),
        min(afterwards, default=None),
        wanted,
    )


@dataclass(frozen=True, slots=True)
class FalseStops:
    """How often an iteration was called converged, and what came of it.

    Attributes:
        n_converged: Iterations after which the rules say that the campaign is converged.
        n_checked: Those of them about which something is known by now.
        n_false: Those of these that were wrong.
    """

    n_converged: int
    n_checked: int
    n_false: int

    @property
    def rate(self) -> float | None:
        """Share of wrong ones; None if nothing is known."""
        return self.n_false / self.n_checked if self.n_checked else None


def false_stops(found: Sequence[Judgement]) -> FalseStops:
    """Count what came of verdicts that a campaign is converged."""
    said = [one.later.is_right for one in found if one.later is not None]
    return FalseStops(len(said), sum(o is not None for o in said), said.count(False))
