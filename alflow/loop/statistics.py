"""The numbers of an iteration, gathered from what its tasks reported."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from alflow.store import TaskRow
from alflow.store.views import IterationProgress
from alflow.store.yields import ArmYield

SUMMED = (
    *("n_trajectories", "n_flagged", "n_finished", "n_unphysical"),
    *("simulated_ps", "atom_steps"),
)
"""Values of sample tasks that add up."""


def iteration_statistics(
    tasks: Iterable[TaskRow],
    progress: IterationProgress,
    accepted: Mapping[str, int],
) -> dict[str, float]:
    """Statistics by name, units in the names.

    Args:
        tasks: Its sample and validate tasks that are done.
        progress: Its counts.
        accepted: Number of flagged frames that were chosen and labelled, by key of the sample
            task that found them.
    """
    arms: dict[str, ArmYield] = {}
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
            arm = str(task.spec.settings.get("arm", ""))
            if arm:
                so_far = arms.get(arm, ArmYield(progress.number, arm))
                arms[arm] = _with_task(so_far, task, accepted)
            longest = max(statistics.get("longest_ps", 0.0), values["longest_ps"])
            statistics["longest_ps"] = longest
        elif task.spec.kind == "validate":
            what = task.spec.key.rsplit("/", 1)[-1]
            statistics |= {f"{what}_{name}": float(value) for name, value in values.items()}
    for one in arms.values():
        statistics |= one.to_statistics()
    return statistics


def _with_task(arm: ArmYield, task: TaskRow, accepted: Mapping[str, int]) -> ArmYield:
    """An arm with what another one of its tasks brought in."""
    values = task.outcome.values if task.outcome else {}
    return replace(
        arm,
        n_tasks=arm.n_tasks + 1,
        n_trajectories=arm.n_trajectories + values["n_trajectories"],
        n_flagged=arm.n_flagged + values["n_flagged"],
        n_accepted=arm.n_accepted + accepted.get(task.spec.key, 0),
        atom_steps=arm.atom_steps + values["atom_steps"],
    )
