"""The numbers of an iteration, gathered from what its tasks reported."""

from collections.abc import Iterable

from alflow.store import TaskRow
from alflow.store.views import IterationProgress

SUMMED = ("n_trajectories", "n_flagged", "n_finished", "n_unphysical", "simulated_ps")
"""Values of sample tasks that add up."""


def iteration_statistics(
    tasks: Iterable[TaskRow], progress: IterationProgress
) -> dict[str, float]:
    """Statistics by name, units in the names.

    Args:
        tasks: Its sample and validate tasks that are done.
        progress: Its counts.
    """
    statistics: dict[str, float] = {
        "n_labelled": float(progress.n_labelled),
        "n_labels_failed": float(progress.n_failed),
    }
    for task in tasks:
        if task.outcome is None:
            continue
        values = task.outcome.values
        if task.spec.kind == "sample":
            for name in SUMMED:
                statistics[name] = statistics.get(name, 0.0) + values[name]
            longest = max(statistics.get("longest_ps", 0.0), values["longest_ps"])
            statistics["longest_ps"] = longest
        elif task.spec.kind == "validate":
            what = task.spec.key.rsplit("/", 1)[-1]
            statistics |= {f"{what}_{name}": float(value) for name, value in values.items()}
    return statistics
