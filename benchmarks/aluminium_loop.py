"""What a finished campaign says about itself: errors it missed, and how long it stays sure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alflow.acquisition.calibrated import CalibratedSettings
from alflow.acquisition.calibration import calibrate
from alflow.config.campaign import CampaignSettings
from alflow.core.sampling import Gate, StopReason
from alflow.core.structures import Structure
from alflow.models.loading import load_potential
from alflow.store import Store
from alflow.store.past import past_iterations


def missed_errors(store: Store) -> list[dict[str, Any]]:
    """Mean force error [meV/Å] of frames drawn at random that were not flagged, by iteration."""
    found = []
    for one in past_iterations(store):
        errors = one.checked.force_error[one.checked.is_audit]
        if len(errors):
            mean = 1e3 * float(errors.mean())
            row = {"iteration": one.number, "n": len(errors), "force_error_meV_per_A": mean}
            found.append(row)
    return found


def trust(store: Store, asked: CalibratedSettings, last: int = 3) -> dict[str, float]:
    """How right the spread was over the last iterations together: coverage, error by spread.

    Each label is set beside what earlier iterations said: the bound of its error, and its spread
    times the scale of errors.
    """
    past = [one for one in past_iterations(store) if len(one.checked)]
    below: dict[str, list[Any]] = {"force": [], "energy": []}
    ratios: dict[str, list[Any]] = {"force": [], "energy": []}
    for position in range(max(1, len(past) - last), len(past)):
        by = calibrate(
            past[:position],
            coverage=asked.coverage,
            window=asked.window,
            energy_window=asked.energy_window,
            prior_ratio=asked.prior_ratio,
            adaptation=asked.adaptation,
        )
        now = past[position].checked
        force = now.force_error / now.force_spread
        energy = now.energy_error / now.energy_spread
        below["force"].append(force <= by.force)
        below["energy"].append(energy <= by.energy)
        ratios["force"].append(force / by.force_scale)
        ratios["energy"].append(energy / by.energy_scale)
    if not below["force"]:
        return {}
    joined = {name: np.concatenate(parts) for name, parts in ratios.items()}
    return {
        "labels": float(len(joined["force"])),
        "coverage_nominal": asked.coverage,
        "coverage_force": float(np.concatenate(below["force"]).mean()),
        "coverage_energy": float(np.concatenate(below["energy"]).mean()),
        "error_per_calibrated_spread_force": float(np.median(joined["force"])),
        "error_per_calibrated_spread_energy": float(
            np.sqrt(np.mean(joined["energy"] ** 2))
        ),
    }


def survival(
    settings: CampaignSettings,
    weights: Mapping[int, bytes],
    starts: Sequence[Structure],
    seed: int,
) -> list[dict[str, Any]]:
    """How long generations sample until a frame is flagged, all under the limits of the campaign.

    A frame is flagged where its spread is beyond the tolerance of the campaign, whatever factor and
    calibration the iterations sampled with.

    Args:
        settings: The campaign.
        weights: Weights of its generations by number; the first, the middle and the last are asked.
        starts: A trajectory is run from each.
        seed: Seed of the trajectories.
    """
    numbers = sorted(weights)
    gate = _limits(settings)
    found = []
    for number in sorted({numbers[0], numbers[len(numbers) // 2], numbers[-1]}):
        potential = load_potential(weights[number], "cpu")
        paths = settings.sample.create().sample(starts, potential, gate, seed)
        flagged = sum(path.stop_reason != StopReason.FINISHED for path in paths)
        sampled_ps = sum(path.time_fs for path in paths) / 1000
        row = {"generation": number, "sampled_ps": sampled_ps, "flagged": flagged}
        # without a flag: longer than what was sampled
        found.append(row | {"ps_per_flag": sampled_ps / max(1, flagged)})
    return found


def _limits(settings: CampaignSettings) -> Gate:
    """The limits of the tolerance alone."""
    plain = {"start_factor": 1.0, "prior_ratio": 1.0}
    return settings.acquire.model_copy(update=plain).create().gate(0)
