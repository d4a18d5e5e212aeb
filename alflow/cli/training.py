"""How far trainings are that run right now, as their workers say."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from alflow.cli.moments import lasting

if TYPE_CHECKING:
    from alflow.store import Store

_TRAIN = "train"


def running_trainings(store: "Store", database: str) -> list[dict[str, Any]]:
    """For each training that runs: its task, its key, and what it last said, by name.

    What it said stands in a file that a worker writes, and may be missing or damaged: only finite
    numbers are taken.

    Args:
        store: The store.
        database: The database, as a user types it.
    """
    from alflow.execution.files import CampaignFiles
    from alflow.loop.campaign import campaign_directory

    files = CampaignFiles(campaign_directory(database, store.campaign().name, store))
    found = []
    for attempt in store.open_attempts():
        if attempt.task.spec.kind != _TRAIN:
            continue
        said = files.read_progress(attempt.ref) or {}
        found.append(
            {
                "task": f"t-{attempt.task.id}",
                "key": attempt.task.spec.key,
                "attempt": attempt.ref.number,
                **{str(name): value for name, value in said.items() if _is_number(value)},
            }
        )
    return found


def training_line(training: Mapping[str, Any]) -> str:
    """One line about a training that runs."""
    parts = []
    if "epoch" in training:
        of = f" of {training['epochs']:.0f}" if "epochs" in training else ""
        parts.append(f"epoch {training['epoch'] + 1:.0f}{of}")
    for name, text in _TEXTS.items():
        if name in training:
            parts.append(text.format(training[name]))
    if "seconds_left" in training:
        parts.append(f"{lasting(training['seconds_left'])} left")
    if "resumed_at" in training:
        parts.append(f"resumed after epoch {training['resumed_at']:.0f}")
    told = ", ".join(parts) or "has not said anything yet"
    return f"{training['key']} ({training['task']}): {told}"


def _is_number(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)  # type: ignore[arg-type]


_TEXTS = {
    "train_loss": "loss {:.3g}",
    "holdout_energy_rmse_meV_per_atom": "hold-out {:.3g} meV/atom",
    "holdout_force_rmse_meV_per_A": "{:.3g} meV/Å",
    "active_members": "{:.0f} members train",
    "round": "{:.0f}. round for members that began anew",
}
