"""What a finished campaign says about itself: errors it missed, and how long it stays sure."""

from collections.abc import Mapping, Sequence
from typing import Any

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


def survival(
    settings: CampaignSettings,
    weights: Mapping[int, bytes],
    starts: Sequence[Structure],
    seed: int,
) -> list[dict[str, Any]]:
    """How long generations sample until a frame is flagged, all under the limits of the campaign.

    The limits are those of its tolerance by the ratio of error to spread that is assumed before
    there are labels, whatever factor and calibration the iterations sampled with.

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
    return settings.acquire.model_copy(update={"start_factor": 1.0}).create().gate(0)
