"""From rows of a store to what figures draw, and single values out of settings. Pure."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Float

from alflow.config.resolution import settings_differences
from alflow.core.comparison import compared
from alflow.core.properties import SuiteResult
from alflow.core.sampling import Gate, Limit
from alflow.report.attribution import Waiting
from alflow.report.content import (
    LabelNoise,
    PropertyReport,
    SelectedStructure,
    Standing,
)
from alflow.report.estimates import Work, calibration_factor, coverage
from alflow.report.provenance import SettingChange
from alflow.report.samples import CalibrationSample, Parity, SpreadSample
from alflow.report.thumbnails import thumbnail
from alflow.store.audits import Audit
from alflow.store.chosen import Chosen, ForcePair
from alflow.store.history import Queued, Replaced, Try
from alflow.store.predictions import (
    CandidateSpread,
    NewLabelPrediction,
    PredictionOnTest,
)
from alflow.store.properties import Found

MAX_COMPONENTS = 20_000
"""Force components of a parity plot; of more, an even selection is shown."""

MAX_LABELS = 2_000
"""New labels of one iteration that are listed one by one."""


def root(square: float | None) -> float | None:
    """Root of a mean square; None stays None."""
    return None if square is None else math.sqrt(square)


def at(settings: Mapping[str, Any], *path: str) -> Any:
    """The value under a path of keys, or None if there is none."""
    value: Any = settings
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def text_at(settings: Mapping[str, Any], *path: str) -> str:
    """The text under a path of keys, or an empty one."""
    value = at(settings, *path)
    return value if isinstance(value, str) else ""


def whole_at(settings: Mapping[str, Any], *path: str) -> int | None:
    """The whole number under a path of keys, or None."""
    value = at(settings, *path)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def numbers_at(settings: Mapping[str, Any], *path: str) -> dict[str, float]:
    """The numbers among the settings under a path of keys."""
    value = at(settings, *path)
    items = value.items() if isinstance(value, Mapping) else ()
    return {
        name: float(number)
        for name, number in items
        if isinstance(number, int | float) and not isinstance(number, bool)
    }


def convergence(settings: Mapping[str, Any]) -> dict[str, float]:
    """What counts as converged, by name of the rule; of one with several numbers the main one."""
    place = ("stop", "converged")
    main = {"audit": "share", "plateau": "iterations"}
    nested = {
        name: numbers_at(settings, *place, name).get(number)
        for name, number in main.items()
    }
    return {
        **numbers_at(settings, *place),
        **{name: number for name, number in nested.items() if number is not None},
    }


def members_asked_for(settings: Mapping[str, Any]) -> int | None:
    """Members that the ensemble is to have; None if weights from elsewhere decide that."""
    if at(settings, "model", "pretrained") is not None:
        return None
    return whole_at(settings, "model", "members")


def standing_at_end(
    n_requested: int, last: int | None, settings: Mapping[str, Any]
) -> Standing:
    """Which limit ended a campaign that did not converge.

    Args:
        n_requested: Labels asked for, as the budget counts them.
        last: Number of the last iteration.
        settings: Settings of the campaign, resolved.
    """
    max_labels = whole_at(settings, "stop", "budget", "labels")
    if max_labels is not None and n_requested >= max_labels:
        return Standing.BUDGET
    limit = whole_at(settings, "loop", "max_iterations")
    times = numbers_at(settings, "stop", "budget").keys() & {"core_hours", "wall_hours"}
    if times and limit is not None and last is not None and last < limit:
        return Standing.TIME
    return Standing.ITERATIONS


def spread_sample(
    number: int, rows: Sequence[CandidateSpread], gates: Mapping[int, Gate]
) -> SpreadSample:
    """Spreads of the candidates of one iteration; there must be at least one.

    Args:
        number: Number of the iteration.
        rows: The candidates.
        gates: The gate of each task that sampled them.
    """
    columns = {
        name: np.array([getattr(row, name) for row in rows], np.float64)
        for name in ("energy", "force_mean", "force_max", "force_scale")
    }
    tasks = np.array([row.task for row in rows])
    excess = np.full(len(rows), np.nan)
    for task, gate in gates.items():
        mine = tasks == task
        excess[mine] = _excess(gate, {name: one[mine] for name, one in columns.items()})
    return SpreadSample(
        iteration=number,
        generation=rows[0].generation,
        **columns,
        is_audit=np.array([row.reason == "audit" for row in rows]),
        excess=excess,
        gate=gates[min(gates)] if gates else None,
    )


def _excess(
    gate: Gate, columns: Mapping[str, Float[np.ndarray, " frames"]]
) -> Float[np.ndarray, " frames"]:
    """The largest spread in units of its limit; NaN where a gate has no limits."""
    ratios = [np.full(len(columns["energy"]), np.nan)]
    for name in ("energy", "force_mean", "force_max"):
        limit: Limit | None = getattr(gate, name)
        if limit is not None:
            at = limit.base + limit.per_force * columns["force_scale"]
            ratios.append(columns[name] / np.where(at > 0, at, np.nan))
    largest: Float[np.ndarray, " frames"] = np.fmax.reduce(ratios)
    return largest


def calibration(rows: Sequence[NewLabelPrediction]) -> tuple[CalibrationSample, ...]:
    """One sample for each iteration; the rows come by iteration."""

    def by_iteration(row: NewLabelPrediction) -> tuple[int, int]:
        return row.iteration, row.generation

    return tuple(
        _calibration(iteration, generation, list(group))
        for (iteration, generation), group in groupby(rows, by_iteration)
    )


def _calibration(
    iteration: int, generation: int, rows: Sequence[NewLabelPrediction]
) -> CalibrationSample:
    per_root = np.sqrt([row.n_atoms for row in rows])
    force_spread = np.array([row.force_spread_mean for row in rows])
    # The error is per component; its vector, like the spread, has three.
    force_error = math.sqrt(3.0) * np.array([row.force_rmse for row in rows])
    energy_spread = np.array([row.energy_spread for row in rows])
    energy_error = np.array([row.energy_error for row in rows]) / per_root
    listed = slice(None, None, -(-len(rows) // MAX_LABELS))
    return CalibrationSample(
        iteration=iteration,
        generation=generation,
        n_labels=len(rows),
        force_spread=force_spread[listed],
        force_error=force_error[listed],
        energy_spread=energy_spread[listed],
        energy_error=energy_error[listed],
        is_audit=np.array([row.reason == "audit" for row in rows])[listed],
        factor=calibration_factor(force_spread, force_error),
        coverage=coverage(energy_spread, energy_error),
        n_audit=sum(row.reason == "audit" for row in rows),
    )


def parity(generation: int, rows: Sequence[PredictionOnTest]) -> Parity:
    """Energies per atom less the mean of the labels, and force components."""
    n_atoms = np.array([row.n_atoms for row in rows], np.float64)
    reference = np.array([row.energy for row in rows]) / n_atoms
    predicted = np.array([row.energy_predicted for row in rows]) / n_atoms
    known = np.isfinite(predicted)
    pairs = list(_components(rows))
    forces = np.concatenate(pairs or [np.zeros((2, 0))], axis=1)
    step = max(1, -(-forces.shape[1] // MAX_COMPONENTS))
    origin = reference.mean() if len(reference) else 0.0
    return Parity(
        generation=generation,
        energy_reference=reference[known] - origin,
        energy_predicted=predicted[known] - origin,
        force_reference=forces[0, ::step],
        force_predicted=forces[1, ::step],
        n_components=forces.shape[1],
    )


def _components(rows: Sequence[PredictionOnTest]) -> Iterator[Float[np.ndarray, "2 n"]]:
    """Label and prediction of all force components of each structure that has both."""
    for row in rows:
        if row.forces is not None and row.forces_predicted is not None:
            both = np.stack([row.forces.ravel(), row.forces_predicted.ravel()])
            yield both[:, np.isfinite(both).all(axis=0)]


def properties(found: Sequence[Found], config: Mapping[str, Any]) -> PropertyReport:
    """What suites say about the last generation that was asked.

    Where it was asked for a property by several settings of a suite, the last answer counts.

    Args:
        found: All answers.
        config: Settings of the campaign, resolved.
    """
    asked = [one.generation for one in found if one.generation is not None]
    if not asked:
        return PropertyReport()
    last = max(asked)
    ours, theirs = (
        [
            SuiteResult(one.properties, one.curves, one.notes)
            for one in found
            if one.generation == who
        ]
        for who in (last, None)
    )
    level = text_at(config, "validate", "reference")
    rows = compared(ours, theirs, level, numbers_at(config, "validate", "given"))
    by_name = {row.name: row for row in rows}
    notes = tuple(note for one in ours for note in one.notes)
    return PropertyReport(last, tuple(by_name.values()), notes)


def noise(audits: Sequence[Audit], failed: Mapping[str, str]) -> LabelNoise:
    """What labels that were computed again say about the noise of labels.

    Args:
        audits: Those that were.
        failed: Why others were not, by hash of the structure: the kind, a colon, a message.
    """
    good = [one for one in audits if one.is_trusted]
    return LabelNoise(
        n=len(audits),
        n_refuted=len(audits) - len(good),
        energy=tuple(one.energy / one.n_atoms for one in good),
        force=tuple(one.force for one in good if np.isfinite(one.force)),
        failed=Counter(why.partition(":")[0] for _, why in sorted(failed.items())),
    )


def selected(
    number: int, rows: Sequence[Chosen], forces: Mapping[int, ForcePair]
) -> tuple[SelectedStructure, ...]:
    """Chosen candidates of an iteration with their pictures.

    Args:
        number: Number of the iteration.
        rows: The candidates.
        forces: Forces by label and generation, by structure: they tell which atom to ring.
    """
    return tuple(
        SelectedStructure(
            row.structure_id,
            row.formula,
            number,
            row.generation,
            row.sampler,
            row.source,
            row.time_fs,
            row.reason,
            row.measure,
            row.energy_spread,
            row.force_spread_max,
            row.decision_reason,
            row.label_state,
            thumbnail(row.structure, most_wrong(forces.get(row.structure_id))),
        )
        for row in rows
    )


def most_wrong(pair: ForcePair | None) -> int | None:
    """The atom with the largest error of its force; None if nothing is known of all of them."""
    if pair is None:
        return None
    errors = np.linalg.norm(pair.predicted - pair.labelled, axis=1)
    return int(np.argmax(errors)) if np.isfinite(errors).all() else None


def work(
    tries: Sequence[Try], queued: Sequence[Queued], as_of: float
) -> tuple[list[Work], list[Waiting]]:
    """Attempts as work on a machine, and the times in which tasks waited for theirs.

    A result tells how long its body computed; it is taken to have ended when it was taken in. An
    attempt that no worker took was no work: its task waited.

    Args:
        tries: All attempts, in the order in which they were handed out.
        queued: Tasks that wait now.
        as_of: End of what has not ended [s].
    """
    hosts = sorted({one.host for one in tries if one.host})
    # One that runs does not tell its host; with one host there is nothing to guess.
    unknown = hosts[0] if len(hosts) == 1 else "host unknown"
    done, waiting = [], [Waiting(one.kind, one.since, as_of) for one in queued]
    since: dict[int, float] = {}
    for one in tries:
        end = as_of if one.ended is None else max(one.started, one.ended)
        began = since.get(one.task_id, one.published)
        since[one.task_id] = end
        is_failed = one.state == "failed"
        if is_failed and one.host is None:
            waiting.append(Waiting(one.kind, began, end))
            continue
        start = one.started if one.wall_s is None else max(one.started, end - one.wall_s)
        host = one.host or unknown
        done.append(Work(host, one.kind, start, end, is_failed, one.started, one.iteration))
        waiting.append(Waiting(one.kind, began, one.started))
    return done, waiting


def changes(
    replaced: Sequence[Replaced],
    newest: Mapping[str, Any],
    begun: Sequence[tuple[float, int]],
) -> tuple[SettingChange, ...]:
    """What changed in the settings of a campaign, oldest first.

    Args:
        replaced: Earlier settings, oldest first.
        newest: Settings of today.
        begun: When each iteration began [s], and its number, in this order.
    """
    versions = [*(one.settings for one in replaced), newest]
    found = []
    for one, before, after in zip(replaced, versions, versions[1:], strict=False):
        last = max((number for start, number in begun if start <= one.ts), default=None)
        found += [
            SettingChange(one.ts, last, *difference)
            for difference in settings_differences(before, after)
        ]
    return tuple(found)
