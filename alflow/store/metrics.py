"""Numbers about iterations and generations, one row for each, and all about one generation."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, func, literal, select

from alflow.core.canonical import digest_of
from alflow.core.errors import SettingsError
from alflow.store import campaigns, history, predictions
from alflow.store.codec import from_json_text
from alflow.store.rows import EnsembleState, Quality, Split
from alflow.store.schema import (
    attempt,
    campaign_structure,
    ensemble,
    ensemble_metric,
    environment,
    iteration,
    iteration_stat,
    label,
    level_of_theory,
    material_property,
    metric,
    model,
    prediction,
    snapshot,
    structure,
    task,
)
from alflow.store.session import Session

COMMITTEE = ensemble.c.role == "committee"


class Metric(NamedTuple):
    """One number; None where it is not finite.

    Attributes:
        iteration: Iteration that it is about, or that trained the generation.
        generation: Generation that it is about; None for one about an iteration.
        member: Number of the member; None for one about all.
        split: What it was found on: train, val, test, new, property, ...; empty for counts.
        name: Its name, with its unit.
        value: The number.
    """

    iteration: int
    generation: int | None
    member: int | None
    split: str
    name: str
    value: float | None


def metrics(store: Session) -> list[Metric]:
    """Every number about every iteration and generation, by iteration."""
    with store.read() as connection:
        rows = [*_of_iterations(connection), *_of_generations(connection)]
    return sorted(
        rows,
        key=lambda row: (
            row.iteration,
            -1 if row.generation is None else row.generation,
            -1 if row.member is None else row.member,
            row.split,
            row.name,
        ),
    )


def _of_iterations(connection: Connection) -> Iterator[Metric]:
    query = select(iteration.c.number, iteration_stat.c.name, iteration_stat.c.value).join(
        iteration, iteration.c.id == iteration_stat.c.iteration_id
    )
    for number, name, value in connection.execute(query):
        yield Metric(number, None, None, "", name, value)
    counted: dict[tuple[int, str], int] = defaultdict(int)
    for one in history.label_counts(connection):
        counted[one.iteration, f"labels_{one.state}"] += one.n
    for path in history.candidate_counts(connection):
        counted[path.iteration, f"candidates_{path.decision}"] += path.n
    for (number, name), n in counted.items():
        yield Metric(number, None, None, "", name, float(n))
    for (number, kind), hours in core_hours(connection).items():
        yield Metric(number, None, None, "cost", f"{kind}_core_h", hours)


def _of_generations(connection: Connection) -> Iterator[Metric]:
    place = (ensemble.c.iteration, ensemble.c.generation)
    no_member = literal(None)
    counts = select(*place, snapshot.c.n_train, snapshot.c.n_val).join(
        snapshot, snapshot.c.id == ensemble.c.snapshot_id
    )
    for number, generation, n_train, n_val in connection.execute(counts.where(COMMITTEE)):
        yield Metric(number, generation, None, "", "n_train", float(n_train))
        yield Metric(number, generation, None, "", "n_val", float(n_val))
    queries: tuple[Select[Any], ...] = (
        select(
            *place,
            no_member,
            ensemble_metric.c.split,
            ensemble_metric.c.name,
            ensemble_metric.c.value,
        ).join(ensemble, ensemble.c.id == ensemble_metric.c.ensemble_id),
        select(*place, model.c.member, metric.c.split, metric.c.name, metric.c.value)
        .join(model, model.c.id == metric.c.model_id)
        .join(ensemble, ensemble.c.id == model.c.ensemble_id),
        select(
            *place,
            no_member,
            literal("property"),
            material_property.c.name + " [" + material_property.c.unit + "]",
            material_property.c.value,
        ).join(ensemble, ensemble.c.id == material_property.c.ensemble_id),
    )
    for query in queries:
        for row in connection.execute(query.where(COMMITTEE)):
            yield Metric(*row)


def core_hours(connection: Connection) -> dict[tuple[int, str], float]:
    """What attempts cost by iteration and kind of task: time that they ran, times their threads."""
    threads = {
        number: str((from_json_text(content) or {}).get("threads", ""))
        for number, content in connection.execute(
            select(environment.c.id, environment.c.packages_json)
        )
    }
    query = (
        select(
            iteration.c.number, task.c.kind, attempt.c.env_id, func.sum(attempt.c.wall_s)
        )
        .join(task, task.c.id == attempt.c.task_id)
        .join(iteration, iteration.c.id == task.c.iteration_id)
        .where(attempt.c.wall_s.is_not(None))
        .group_by(iteration.c.number, task.c.kind, attempt.c.env_id)
        .order_by(iteration.c.number, task.c.kind, attempt.c.env_id)
    )
    found: dict[tuple[int, str], float] = defaultdict(float)
    for number, kind, env_id, wall_s in connection.execute(query):
        told = threads.get(env_id, "")
        cores = int(told) if told.isdecimal() and int(told) else 1
        found[number, kind] += wall_s * cores / 3600
    return dict(found)


@dataclass(frozen=True, slots=True)
class Account:
    """A generation in numbers, and what has to be the same for them to be compared.

    Attributes:
        database: Where it is, without secrets.
        campaign: Name of its campaign.
        generation: Its number.
        iteration: Iteration that trained it.
        state: ready, rejected, ...
        level: Level of theory that it was trained on.
        level_digest: Digest of the settings of that level.
        n_test: Test structures that it was asked about.
        test_digest: Digest of those structures and their labels; None without any.
        force_rmse: Test error of the forces, per component [eV/Å].
        energy_rmse: Test error of the energy [eV/atom].
        settings: Settings of the campaign when it was planned.
        metrics: All numbers about it, and about iterations up to that which trained it.
    """

    database: str
    campaign: str
    generation: int
    iteration: int
    state: str
    level: str
    level_digest: str
    n_test: int
    test_digest: str | None
    force_rmse: float | None
    energy_rmse: float | None
    settings: Mapping[str, Any]
    metrics: tuple[Metric, ...]


def account(store: Session, generation: int | None = None) -> Account:
    """What is known about a generation; the newest that is ready if none is named.

    Raises:
        SettingsError: If there is no such generation.
    """
    with store.read() as connection:
        row = connection.execute(_chosen(generation)).first()
        if row is None:
            what = "no generation is trained" if generation is None else "no generation g"
            number = "" if generation is None else str(generation)
            raise SettingsError(
                f"there is {what}{number} in {store.name}",
                next_step=f"generations: alflow ls generations {store.name}",
            )
        errors = {one.generation: one for one in predictions.errors_on_test(connection)}
        error = errors.get(row.generation, predictions.ErrorOnTest(-1, 0, None, None))
        config = history.settings_before(connection, row.created)
        current = campaigns.load(connection)
        digest = _test_digest(connection, row.id) if error.n_labels else None
    return Account(
        store.name,
        current.name,
        row.generation,
        row.iteration,
        row.state,
        row.name,
        row.spec_hash,
        error.n_labels,
        digest,
        None if error.force is None else error.force**0.5,
        None if error.energy is None else error.energy**0.5,
        current.config if config is None else config,
        tuple(
            one
            for one in metrics(store)
            if one.iteration <= row.iteration and one.generation in (None, row.generation)
        ),
    )


def _chosen(generation: int | None) -> Select[Any]:
    is_one = (
        ensemble.c.state == EnsembleState.READY
        if generation is None
        else ensemble.c.generation == generation
    )
    return (
        select(
            *(ensemble.c.id, ensemble.c.generation, ensemble.c.iteration, ensemble.c.state),
            *(ensemble.c.created, level_of_theory.c.name, level_of_theory.c.spec_hash),
        )
        .join(level_of_theory, level_of_theory.c.id == ensemble.c.lot_id)
        .where(COMMITTEE, is_one)
        .order_by(ensemble.c.generation.desc())
    )


def _test_digest(connection: Connection, ensemble_id: int) -> str:
    """One checksum over the test structures that an ensemble was asked about, and their labels."""
    query = (
        select(structure.c.hash, label.c.content_sha)
        .select_from(prediction)
        .join(label, label.c.id == prediction.c.label_id)
        .join(structure, structure.c.id == label.c.structure_id)
        .join(campaign_structure, campaign_structure.c.structure_id == label.c.structure_id)
        .where(
            prediction.c.ensemble_id == ensemble_id,
            campaign_structure.c.split == Split.TEST,
            label.c.quality == Quality.OK,
        )
    )
    return digest_of(
        sorted([row.hash, row.content_sha] for row in connection.execute(query))
    )
