"""Rules that end a campaign by what several iterations said."""

from dataclasses import replace

import numpy as np
import pytest

from alflow.acquisition.anytime import upper_bound
from alflow.acquisition.calibrated import CalibratedSettings
from alflow.config.campaign import (
    AuditBoundSettings,
    BudgetSettings,
    CampaignSettings,
    ConvergedSettings,
    PlateauSettings,
    StopSettings,
)
from alflow.config.resolution import settings_from_resolved
from alflow.core.past import Checked, PastIteration
from alflow.loop.calibration import calibration_statistics
from alflow.loop.stopping import judge
from alflow.store.costs import Spent
from alflow.store.views import GenerationProgress, IterationProgress, Progress

CAMPAIGN = {
    "name": "stops",
    "seed": 1,
    "system": {
        "elements": ["Al"],
        "builders": [{"kind": "melt", "density_g_per_cm3": [2, 3]}],
    },
    "label": {"primary": "gupta", "levels": {"gupta": {"kind": "analytic"}}},
    "sample": {
        "kind": "nemd",
        "duration_ps": 1,
        "temperature_K": {"start": 300, "end": 300},
    },
    "acquire": {"kind": "calibrated", "per_iteration": 50},
}


def campaign(**stop: object) -> CampaignSettings:
    budget = stop.pop("budget", BudgetSettings())
    rules = StopSettings(
        budget=budget,  # type: ignore[arg-type]
        converged=ConvergedSettings(**stop),  # type: ignore[arg-type]
    )
    return settings_from_resolved(CAMPAIGN).model_copy(update={"stop": rules})


def after(*stats: dict[str, float], **changes: object) -> Progress:
    """A campaign whose iterations ended with these statistics."""
    usual = {
        "n_trajectories": 96.0,
        "n_flagged": 60.0,
        "n_finished": 36.0,
        "longest_ps": 1.0,
    }
    iterations = tuple(
        IterationProgress(number, "validate", ended=True, n_selected=50, stats=usual | one)
        for number, one in enumerate(stats)
    )
    generations = tuple(GenerationProgress(one.number, "ready") for one in iterations)
    view = Progress("running", iterations=iterations, generations=generations, n_train=100)
    return replace(view, **changes)  # type: ignore[arg-type]


def audited(n: int, n_beyond: int) -> dict[str, float]:
    return {"n_audited": float(n), "n_audited_beyond": float(n_beyond)}


def errors(*values: float) -> list[dict[str, float]]:
    return [{"test_force_rmse_eV_per_A": error} for error in values]


def test_frames_drawn_at_random_end_a_campaign_once_few_of_them_are_wrong() -> None:
    rule = AuditBoundSettings(force_eV_per_A=0.05, energy_meV=10, share=0.2, window=3)
    settings = campaign(audit=rule)
    assert judge(after({}, audited(10, 0), audited(10, 0)), settings) is None
    verdict = judge(after({}, audited(90, 80), *[audited(15, 0)] * 3), settings)
    assert verdict is not None
    assert verdict.state == "converged"
    bound = 100 * upper_bound(0, 45, 0.95, 2)
    assert "of 45 frames drawn at random in the last 3 iterations 0 had" in verdict.sentence
    assert "beyond 50 meV/Å or 10 meV/√atom" in verdict.sentence
    assert f"less than {bound:.1f} % of such frames (target 20 %)" in verdict.sentence


def test_a_bound_needs_a_tolerance() -> None:
    with pytest.raises(ValueError, match="neither force_eV_per_A nor energy_meV"):
        AuditBoundSettings()


def test_an_error_that_stopped_falling_ends_a_campaign() -> None:
    settings = campaign(plateau=PlateauSettings(iterations=2, improvement=0.1))
    assert judge(after(*errors(0.10, 0.08)), settings) is None
    assert judge(after(*errors(0.10, 0.09, 0.08)), settings) is None
    verdict = judge(after(*errors(0.10, 0.05, 0.047, 0.046)), settings)
    assert verdict is not None
    assert verdict.state == "converged"
    assert (
        "46.0 meV/Å at best in the last 2 iterations, 50.0 meV/Å before" in verdict.sentence
    )


def test_iterations_that_find_too_little_at_the_tolerance_end_a_campaign() -> None:
    settings = campaign(stalled=2)
    short = {"n_flagged": 20.0, "n_places": 50.0}
    loose, tight = {"gate_factor": 1.3} | short, {"gate_factor": 0.9} | short
    assert judge(after(loose, loose), settings) is None
    assert judge(after(loose, tight), settings) is None
    assert judge(after(tight, tight | {"n_flagged": 50.0}), settings) is None
    verdict = judge(after(loose, tight, tight), settings)
    assert verdict is not None
    assert "fewer frames than places (20 of 50, 20 of 50)" in verdict.sentence


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"core_hours": 2.0}, "2 core hours is spent (2.5 used)"),
        ({"wall_hours": 1.5}, "1.5 hours of wall time is spent (1.5 used)"),
    ],
)
def test_budgets_of_time_end_a_campaign(budget: dict[str, float], words: str) -> None:
    spent = Spent(core_hours=2.5, wall_hours=1.5)
    settings = campaign(budget=BudgetSettings(**budget))  # type: ignore[arg-type]
    assert judge(after({}, spent=Spent(1.9, 1.4)), settings) is None
    verdict = judge(after({}, spent=spent), settings)
    assert verdict is not None
    assert (verdict.state, words in verdict.sentence) == ("finished", True)


def past(number: int, count: int, ratio: float) -> PastIteration:
    """Labels whose errors are `ratio` times their spread; the first ten drawn at random."""
    spread = np.linspace(0.01, 0.02, count)
    checked = Checked(
        ratio * spread,
        spread,
        ratio * spread,
        spread,
        np.ones(count),
        np.arange(count) < 10,
    )
    return PastIteration(number, 96, 60, 50, checked=checked)


def test_an_iteration_says_how_right_the_spread_was() -> None:
    rule = AuditBoundSettings(force_eV_per_A=0.025)
    settings = campaign(audit=rule)
    found = calibration_statistics([past(1, 40, 2.0)], past(2, 40, 2.2), settings)
    assert found["coverage_nominal"] == 0.9
    assert found["bound_per_spread_force"] == pytest.approx(2.0)
    assert (found["coverage_force"], found["coverage_energy_audit"]) == (0.0, 0.0)
    assert found["error_per_spread_force"] == pytest.approx(2.2)
    assert found["error_per_calibrated_spread_energy"] == pytest.approx(1.1)
    assert found["n_audited"] == 10
    assert (
        found["n_audited_beyond"] == (2.2 * np.linspace(0.01, 0.02, 40)[:10] > 0.025).sum()
    )
    assert found["gate_factor"] == CalibratedSettings(per_iteration=50).start_factor


def test_without_labels_nothing_is_said() -> None:
    found = calibration_statistics([], past(1, 0, 1.0), campaign())
    assert set(found) == {
        "coverage_nominal",
        "bound_per_spread_force",
        "bound_per_spread_energy",
        "gate_factor",
    }
