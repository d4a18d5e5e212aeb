"""What the labels of an iteration say about the spread, as statistics of the iteration: pure."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import bdtr

from alflow.acquisition.calibrated import CalibratedSettings
from alflow.acquisition.calibrated_rule import CalibratedRule
from alflow.acquisition.calibration import FEWEST, calibrate, covered
from alflow.config.campaign import AuditBoundSettings, CampaignSettings
from alflow.core.past import Checked, PastIteration
from alflow.loop.stopping import GATE_FACTOR, N_AUDITED, N_BEYOND

UNLIKELY = 1e-3
"""A coverage is an alarm if chance makes one as low less often than this."""
USUAL = CalibratedSettings(per_iteration=1)
"""What is asked of the spread where the rule of acquisition does not ask itself."""


def calibration_statistics(
    before: Sequence[PastIteration], now: PastIteration, settings: CampaignSettings
) -> Mapping[str, float]:
    """Statistics by name; what cannot be told is left out.

    `coverage_*` are shares of frames whose error was below the bound that earlier labels gave
    (nominal: `coverage_nominal`); `error_per_spread_*` the error in units of the spread, and
    `error_per_calibrated_spread_*` in units of the spread times what earlier labels gave for that.

    Args:
        before: Earlier iterations, in order.
        now: The iteration.
        settings: The campaign's settings.
    """
    asked = settings.acquire if isinstance(settings.acquire, CalibratedSettings) else USUAL
    known, own = (
        calibrate(
            taught,
            coverage=asked.coverage,
            window=asked.window,
            energy_window=asked.energy_window,
            prior_ratio=asked.prior_ratio,
            adaptation=asked.adaptation,
        )
        for taught in (before, [now])
    )
    cover = covered(now, known)
    found = {
        "coverage_nominal": asked.coverage,
        "coverage_force": cover.force,
        "coverage_energy": cover.energy,
        "coverage_force_audit": cover.force_audit,
        "coverage_energy_audit": cover.energy_audit,
        "bound_per_spread_force": known.force,
        "bound_per_spread_energy": known.energy,
        "error_per_spread_force": own.force_scale,
        "error_per_spread_energy": own.energy_scale,
        "error_per_calibrated_spread_force": own.force_scale / known.force_scale,
        "error_per_calibrated_spread_energy": own.energy_scale / known.energy_scale,
        **audited(now.checked, settings.stop.converged.audit),
    }
    if isinstance(settings.acquire, CalibratedSettings):
        found[GATE_FACTOR] = CalibratedRule(settings.acquire).factor(before)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def drift(
    before: Sequence[PastIteration], now: Checked, statistics: Mapping[str, float]
) -> str:
    """What to say if errors were far more often beyond their bound than they should; else empty.

    The bounds came from earlier labels: what the spread means has changed since.

    Args:
        before: Earlier iterations; with too few labels in them bounds are assumed, and no alarm.
        now: Labels of the iteration.
        statistics: Its statistics, by name.
    """
    if sum(len(one.checked) for one in before) < FEWEST:
        return ""
    nominal = statistics.get("coverage_nominal")
    found = []
    for name, errors in (("force", now.force_error), ("energy", now.energy_error)):
        share, n_labels = statistics.get(f"coverage_{name}"), int(np.isfinite(errors).sum())
        if nominal is None or share is None:
            continue
        n_below = round(share * n_labels)
        if bdtr(n_below, n_labels, nominal) < UNLIKELY:
            found.append(
                f"{n_labels - n_below} of {n_labels} errors of the {name} were beyond the bound "
                f"that earlier labels gave ({100 * (1 - nominal):.0f} % should be)"
            )
    return "; ".join(found)


def audited(checked: Checked, wanted: AuditBoundSettings | None) -> dict[str, float]:
    """How many frames drawn at random there are, and are wrong."""
    drawn = checked.is_audit
    found = {
        "audit_force_error_eV_per_A": _mean(checked.force_error[drawn]),
        "audit_energy_error_eV": _mean(checked.energy_error[drawn]),
    }
    if wanted is None:
        return found
    is_beyond = np.zeros(int(drawn.sum()), bool)
    if wanted.force_eV_per_A is not None:
        is_beyond |= ~(checked.force_error[drawn] <= wanted.force_eV_per_A)
    if wanted.energy_meV is not None:
        is_beyond |= ~(checked.energy_error[drawn] <= 1e-3 * wanted.energy_meV)
    counts = {N_AUDITED: float(len(is_beyond)), N_BEYOND: float(is_beyond.sum())}
    return found | counts


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
