"""How a campaign is, in the text format of Prometheus. Pure, but for `write`."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, SupportsFloat

from alflow.cli.status import needs_attention
from alflow.core.errors import SettingsError
from alflow.core.tasks import TaskState

if TYPE_CHECKING:
    from alflow.loop.watching import Seen

_TEST_ERRORS = ("force_rmse_eV_per_A", "energy_rmse_eV_per_atom")


class _Sample(NamedTuple):
    """A number, and the labels by which it is told from others of its metric."""

    value: float
    labels: Mapping[str, str]


class _Metric(NamedTuple):
    """A metric; one without samples is left out."""

    name: str
    kind: str
    help: str
    samples: list[_Sample]


def exposition(
    seen: "Seen", tasks: Mapping[str, Mapping[str, int]], core_s: Mapping[str, float]
) -> str:
    """The whole text.

    Args:
        seen: What is seen of the campaign.
        tasks: Number of tasks by kind and state.
        core_s: What all attempts have cost by kind of task [core-seconds].
    """
    lines: list[str] = []
    for name, kind, told, samples in (*_standing(seen), *_work(seen, tasks, core_s)):
        known = [one for one in samples if math.isfinite(one.value)]
        if known:
            lines += [f"# HELP alflow_{name} {told}", f"# TYPE alflow_{name} {kind}"]
            # Of several campaigns on one machine each has a file.
            of = {"campaign": seen.standing.campaign}
            lines += [
                f"alflow_{name}{_labels({**of, **one.labels})} {one.value:.12g}"
                for one in known
            ]
    return "\n".join(lines) + "\n"


def _standing(seen: "Seen") -> Iterator[_Metric]:
    view = seen.standing
    yield _Metric(
        "info", "gauge", "How the campaign stands.", [_Sample(1, {"state": view.state})]
    )
    yield _gauge(
        "needs_attention", "Whether work is left and nobody does it.", needs_attention(view)
    )
    yield _gauge("iteration", "Number of the last iteration.", view.iteration)
    yield _gauge("generation", "Number of the last generation ready.", view.generation)
    errors = [
        _Sample(curve[max(curve)], {"quantity": name})
        for name in _TEST_ERRORS
        if (curve := view.curves.get(f"test_{name}"))
    ]
    yield _Metric("test_error", "gauge", "Error on the test set, by quantity.", errors)
    yield _gauge(
        "flagged_share", "Share of trajectories with a flagged frame.", _flagged(seen)
    )
    manager = view.manager
    yield _gauge("manager_up", "Whether a manager is alive.", manager.alive)
    yield _gauge(
        "manager_age_seconds", "Time since its last sign of life.", manager.silent_s
    )


def _work(
    seen: "Seen", tasks: Mapping[str, Mapping[str, int]], core_s: Mapping[str, float]
) -> Iterator[_Metric]:
    labels = [_Sample(n, {"state": state}) for state, n in seen.standing.labels.items()]
    yield _Metric("labels", "gauge", "Labels asked for, by state.", labels)
    counts = [
        _Sample(states.get(state, 0), {"kind": kind, "state": str(state)})
        for kind, states in tasks.items()
        for state in TaskState
    ]
    yield _Metric("tasks", "gauge", "Tasks, by kind and state.", counts)
    workers = [_Sample(one.n, {"pool": one.name}) for one in seen.pools]
    yield _Metric("workers", "gauge", "Workers there may be, by pool.", workers)
    busy = [_Sample(one.n_busy, {"pool": one.name}) for one in seen.pools]
    yield _Metric("workers_busy", "gauge", "Workers with something to do, by pool.", busy)
    spent = [_Sample(cost, {"kind": kind}) for kind, cost in core_s.items()]
    told = "Core-seconds of all attempts, by kind of task."
    yield _Metric("core_seconds_total", "counter", told, spent)


def _gauge(name: str, told: str, value: SupportsFloat | None) -> _Metric:
    samples = [] if value is None else [_Sample(float(value), {})]
    return _Metric(name, "gauge", told, samples)


def _flagged(seen: "Seen") -> float | None:
    """Of the last iteration that sampled."""
    curves = seen.standing.curves
    flagged, sampled = curves.get("n_flagged", {}), curves.get("n_trajectories", {})
    known = [number for number in flagged if sampled.get(number)]
    return flagged[max(known)] / sampled[max(known)] if known else None


def _labels(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def write(text: str, path: Path) -> None:
    """Write a file for the textfile collector of node_exporter: it sees all of it, or none.

    Raises:
        SettingsError: If it is not called *.prom, or cannot be written.
    """
    from alflow.execution.durable import write_atomic

    if path.suffix != ".prom":
        raise SettingsError(
            f"{path} does not end in .prom: nothing else is collected",
            code="AL103",
            consequence="Nothing was written.",
        )
    try:
        write_atomic(path, text.encode(), durable=False)
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written: {error.strerror}", code="AL103"
        ) from error
