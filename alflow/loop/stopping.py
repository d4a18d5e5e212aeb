"""When a campaign is done: pure functions of what the store says."""

from dataclasses import dataclass

from alflow.acquisition.anytime import upper_bound
from alflow.config.campaign import CampaignSettings
from alflow.loop.promotion import ordinary
from alflow.loop.serving import serving
from alflow.samplers.mixture import MixtureSettings
from alflow.store.past import N_PLACES
from alflow.store.views import IterationProgress, Progress
from alflow.store.yields import arm_yields

FORCE_RMSE = "test_force_rmse_eV_per_A"
"""Name of the statistic of an iteration that holds the force RMSE on the test set [eV/Å]."""

N_AUDITED, N_BEYOND = "n_audited", "n_audited_beyond"
"""Names of the statistics that count labelled frames drawn at random, and those of them whose error
is beyond the tolerance of `stop.converged.audit`."""

GATE_FACTOR = "gate_factor"
"""Name of the statistic that tells how much looser the limits were than the tolerance asks for."""

SIMULATED_PS = "longest_ps"
"""Name of the statistic that holds the time of the longest trajectory [ps]."""


@dataclass(frozen=True, slots=True)
class StopVerdict:
    """Why a campaign ends.

    Attributes:
        state: Final state of the campaign: converged, finished or failed.
        sentence: The reason, with its numbers.
    """

    state: str
    sentence: str


def judge(progress: Progress, settings: CampaignSettings) -> StopVerdict | None:
    """Whether the campaign ends after its last iteration, or None if it goes on.

    Convergence comes before budgets: a campaign that is good enough with its last label is
    converged, not out of labels.
    """
    progress = ordinary(progress)
    return (
        _accurate_enough(progress, settings)
        or _survived(progress, settings)
        or _audited(progress, settings)
        or _stalled(progress, settings)
        or _flat(progress, settings)
        or _out_of_labels(progress, settings)
        or _out_of_time(progress, settings)
        or _out_of_iterations(progress, settings)
        or _nothing_to_learn(progress, settings)
    )


def _accurate_enough(progress: Progress, settings: CampaignSettings) -> StopVerdict | None:
    target = settings.stop.converged.force_rmse_eV_per_A
    if target is None:
        return None
    best = serving(progress, progress.iterations[-1].number + 1)
    tested = [one.stats for one in progress.iterations if one.number == best]
    value = tested[0].get(FORCE_RMSE) if tested else None
    if value is None or value > target:
        return None
    return StopVerdict(
        "converged",
        f"force RMSE on the test set is {1e3 * value:.1f} meV/Å, "
        f"at or below the target of {1e3 * target:.1f} meV/Å",
    )


def _survived(progress: Progress, settings: CampaignSettings) -> StopVerdict | None:
    last = progress.iterations[-1]
    n_trajectories = int(last.stats.get("n_trajectories", 0))
    if n_trajectories == 0:
        return None
    target = settings.stop.converged.survival_ps
    simulated = last.stats[SIMULATED_PS]
    all_finished = last.stats["n_finished"] == n_trajectories
    if _arms_without_trajectory(last, settings):
        return None  # nothing is known about where they would have gone
    is_long_enough = target is not None and simulated >= target
    if not all_finished or not (is_long_enough or last.n_selected == 0):
        return None
    stated = "" if target is None else f" (target {target:g} ps)"
    return StopVerdict(
        "converged",
        f"all {n_trajectories} trajectories of the last iteration survived {simulated:g} ps "
        f"without a flagged frame{stated}",
    )


def _audited(progress: Progress, settings: CampaignSettings) -> StopVerdict | None:
    """Whether frames drawn at random are hardly ever wrong any more."""
    wanted = settings.stop.converged.audit
    if wanted is None:
        return None
    known = [one.stats for one in progress.iterations if N_AUDITED in one.stats]
    used = known[-wanted.window :]
    n = int(sum(stats[N_AUDITED] for stats in used))
    n_beyond = int(sum(stats[N_BEYOND] for stats in used))
    start = 1 + len(known) - len(used)
    bound = upper_bound(n_beyond, n, wanted.confidence, start)
    if bound > wanted.share:
        return None
    tolerances = [
        f"{1e3 * wanted.force_eV_per_A:g} meV/Å" if wanted.force_eV_per_A else "",
        f"{wanted.energy_meV:g} meV/√atom" if wanted.energy_meV else "",
    ]
    return StopVerdict(
        "converged",
        f"of {n} frames drawn at random in the last {len(used)} iterations {n_beyond} had an error "
        f"beyond {' or '.join(filter(None, tolerances))}: with {100 * wanted.confidence:g} % "
        f"confidence less than {100 * bound:.1f} % of such frames "
        f"(target {100 * wanted.share:g} %)",
    )


def _stalled(progress: Progress, settings: CampaignSettings) -> StopVerdict | None:
    """Whether frames beyond the tolerance have become rare."""
    wanted = settings.stop.converged.stalled
    last = [one.stats for one in progress.iterations if GATE_FACTOR in one.stats]
    last = last[-wanted:] if wanted is not None else []
    if wanted is None or len(last) < wanted:
        return None
    if any(one["n_flagged"] >= one[N_PLACES] or one[GATE_FACTOR] > 1.0 for one in last):
        return None
    counts = ", ".join(f"{int(one['n_flagged'])} of {int(one[N_PLACES])}" for one in last)
    return StopVerdict(
        "converged",
        f"in the last {wanted} iterations fewer frames than places ({counts}) were beyond what "
        "the tolerance allows for",
    )


def _flat(progress: Progress, settings: CampaignSettings) -> StopVerdict | None:
    """Whether the error on the test set has stopped falling."""
    wanted = settings.stop.converged.plateau
    if wanted is None:
        return None
    errors = [
        one.stats[FORCE_RMSE] for one in progress.iterations if FORCE_RMSE in one.stats
    ]
    before, last = errors[: -wanted.iterations], errors[-wanted.iterations :]
    if not before or min(last) < (1 - wanted.improvement) * min(before):
        return None
    return StopVerdict(
        "converged",
        f"the force RMSE on the test set has stopped falling: {1e3 * min(last):.1f} meV/Å at best "
        f"in the last {wanted.iterations} iterations, {1e3 * min(before):.1f} meV/Å before them "
        f"(less than {100 * wanted.improvement:g} % better)",
    )


def _out_of_time(progress: Progress, settings: CampaignSettings) -> StopVerdict | None:
    budget, spent = settings.stop.budget, progress.spent
    for limit, used, unit in (
        (budget.core_hours, spent.core_hours, "core hours"),
        (budget.wall_hours, spent.wall_hours, "hours of wall time"),
    ):
        if limit is not None and used >= limit:
            sentence = f"the budget of {limit:g} {unit} is spent ({used:.3g} used)"
            return StopVerdict("finished", sentence)
    return None


def _arms_without_trajectory(
    last: IterationProgress, settings: CampaignSettings
) -> list[str]:
    """Arms of a mixture whose tasks have all failed in an iteration."""
    if not isinstance(settings.sample, MixtureSettings):
        return []
    ran = {one.arm for one in arm_yields(last.number, last.stats) if one.n_trajectories}
    return sorted(settings.sample.arms.keys() - ran)


def _nothing_to_learn(progress: Progress, settings: CampaignSettings) -> StopVerdict | None:
    last = progress.iterations[-1]
    if last.number == 0 or last.n_selected > 0:
        return None
    if "score" in last.tasks:
        return None  # a newer generation knew what an older one had flagged
    failed = _arms_without_trajectory(last, settings)
    if failed:
        return StopVerdict(
            "failed",
            f"no frame of iteration {last.number} could be chosen for a label, and every "
            f"sample task of {', '.join(failed)} failed; see: "
            f"alflow ls tasks --kind sample --state failed",
        )
    return StopVerdict(
        "failed",
        f"no frame of iteration {last.number} could be chosen for a label: of "
        f"{int(last.stats.get('n_trajectories', 0))} trajectories "
        f"{int(last.stats.get('n_flagged', 0))} were flagged and "
        f"{int(last.stats.get('n_unphysical', 0))} became unphysical; see: "
        f"alflow ls candidates --iteration {last.number}",
    )


def _out_of_labels(progress: Progress, settings: CampaignSettings) -> StopVerdict | None:
    budget = settings.stop.budget.labels
    if budget is None or progress.n_requested < budget:
        return None
    return StopVerdict(
        "finished",
        f"the budget of {budget} labels is spent ({progress.n_requested} requested)",
    )


def _out_of_iterations(
    progress: Progress, settings: CampaignSettings
) -> StopVerdict | None:
    limit = settings.loop.max_iterations
    if progress.iterations[-1].number < limit:
        return None
    return StopVerdict("finished", f"the limit of {limit} iterations is reached")
