"""The tasks of each stage: keys, seeds and settings, pure functions of the campaign's settings.

A key names what a task is for, and a seed derives from the campaign's seed and the key, so
that publishing twice is publishing once, and a task that is run again is the same task.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from alflow.config.audit import audit_labeler
from alflow.config.campaign import CampaignSettings
from alflow.core.batches import pack_structures
from alflow.core.canonical import digest_of
from alflow.core.elements import atomic_number
from alflow.core.labels import audit_level
from alflow.core.sampling import Gate
from alflow.core.seeds import child_seed
from alflow.core.structures import Structure
from alflow.core.tasks import TaskSpec
from alflow.labelers.level import level_digest
from alflow.loop.bandit import arms_of
from alflow.loop.batching import NOTHING, Known, in_batches, timeout_s
from alflow.registry import Settings
from alflow.store import NewTask
from alflow.store.properties import PROPERTY
from alflow.store.views import IterationProgress

BOOTSTRAP, TEST = "build/bootstrap", "build/test"
"""Keys of the two tasks that build structures."""

POOL = "pool"
"""Last word of the key of a task that predicts what may be promoted."""

WriteBlob = Callable[[bytes], str]
"""Puts bytes where workers find them and returns their SHA-256."""


def build_tasks(settings: CampaignSettings, n_train: int, n_test: int) -> list[NewTask]:
    """Tasks that build bootstrap structures and the test set; none for no structures."""
    wanted = [(BOOTSTRAP, n_train, settings.system.builders)]
    if settings.test is not None:
        wanted.append((TEST, n_test, settings.test.builders))
    return [
        _task(
            settings,
            "build",
            key,
            {"builders": [_plain(builder) for builder in builders], "count": count},
        )
        for key, count, builders in wanted
        if count
    ]


def label_tasks(
    settings: CampaignSettings,
    iteration: int,
    structures: Sequence[Structure],
    write_blob: WriteBlob,
    promoted: tuple[str, str] | None = None,
    known: Known = NOTHING,
) -> list[NewTask]:
    """Tasks that label structures at the primary level, in batches (`loop.batching`).

    Args:
        settings: The campaign's settings.
        iteration: Number of the iteration.
        structures: What is to be labelled.
        write_blob: Puts bytes where workers find them.
        promoted: Another level, and what the labels are for: train or test of a promotion, or what
            tells apart the audits of an iteration.
        known: What is known about the costs of such labels.
    """
    level, part = promoted or (settings.label.primary, "")
    prefix = f"label/{level}/i{iteration}" + (f"/{part}" if part else "")
    unique = {structure.hash: structure for structure in structures}
    label = settings.label
    batches = in_batches([*unique.values()], label.batch_size, label.batch_s, known)
    return [
        _task(
            settings,
            "label",
            f"{prefix}/{number}",
            {
                "labeler": _plain(_labeler(settings, level)),
                "limits": {
                    "timeout_s": timeout_s(batch, label.timeout_s, known.cost),
                    "memory_MB": label.memory_MB,
                },
            },
            iteration=iteration,
            inputs={"structures": write_blob(pack_structures(batch))},
            items=tuple(structure.hash for structure in batch),
            lot=level,
        )
        for number, batch in enumerate(batches)
    ]


def _labeler(settings: CampaignSettings, level: str) -> Settings:
    if level == audit_level(settings.label.primary):
        return audit_labeler(settings)
    found: Settings = settings.label.levels[level]
    return found


def sample_keys(
    settings: CampaignSettings, iteration: int, sampling_round: int
) -> list[str]:
    """Keys of the sample tasks of a round."""
    prefix = f"sample/i{iteration}/r{sampling_round}"
    return [f"{prefix}/{number}" for number in range(settings.sample.tasks)]


def sample_tasks(
    settings: CampaignSettings,
    iteration: int,
    sampling_round: int,
    gate: Gate,
    weights: str,
    past: Iterable[IterationProgress] = (),
) -> list[NewTask]:
    """Tasks that look for frames which a generation does not know.

    A task of a mixture has the settings of its arm alone, and the name of the arm.

    Args:
        settings: The campaign's settings.
        iteration: Number of the iteration, 1 or more.
        sampling_round: Number of the round in it, 0 first.
        gate: Decides which frames the ensemble does not know.
        weights: SHA-256 of the weights of the ensemble.
        past: The iterations before it, which decide about the arms of a mixture.
    """
    shared = {
        "builders": [_plain(builder) for builder in settings.system.builders],
        "gate": gate.to_json(),
    }
    keys = sample_keys(settings, iteration, sampling_round)
    plain = _plain(settings.sample)
    own = [
        {
            "count": settings.sample.arms[arm].replicas,
            "sample": plain["arms"][arm],
            "arm": arm,
        }
        for arm in arms_of(settings, keys, past)
    ] or [{"count": settings.sample.replicas, "sample": plain}] * len(keys)
    return [
        _task(
            settings,
            "sample",
            key,
            {**shared, **parameters},
            iteration=iteration,
            inputs={"weights": weights},
        )
        for key, parameters in zip(keys, own, strict=True)
    ]


def train_task(
    settings: CampaignSettings,
    generation: int,
    dataset: str,
    initial: str | None,
    train: Settings | None = None,
) -> NewTask:
    """The task that trains a generation on a dataset, from its parent's weights if given.

    `train` are settings of the trainer other than the campaign's.
    """
    inputs = {"dataset": dataset} | ({} if initial is None else {"initial": initial})
    return _task(
        settings,
        "train",
        f"train/g{generation}",
        {"train": _plain(train or settings.train), "model": _plain(settings.model)},
        iteration=generation,
        inputs=inputs,
        priority=1,
    )


def validate_task(
    settings: CampaignSettings, generation: int, iteration: int, weights: str, dataset: str
) -> NewTask:
    """The task that compares a generation with labels it was not trained on.

    Args:
        settings: The campaign's settings.
        generation: Number of the generation.
        iteration: Iteration it is done in: the generation's own for the test set, a later one
            for the labels that its disagreement asked for.
        weights: SHA-256 of the generation's weights.
        dataset: SHA-256 of the labelled structures.
    """
    # One that serves for long is asked in several iterations.
    what = "test" if generation == iteration else f"i{iteration}/new"
    return _task(
        settings,
        "validate",
        f"validate/g{generation}/{what}",
        {"generation": generation},
        iteration=iteration,
        inputs={"weights": weights, "dataset": dataset},
        priority=1,
    )


def pool_task(
    settings: CampaignSettings, generation: int, iteration: int, weights: str, dataset: str
) -> NewTask:
    """The task that lets a generation predict all structures that may be promoted."""
    return _task(
        settings,
        "validate",
        f"validate/g{generation}/i{iteration}/{POOL}",
        {"generation": generation, "fingerprints": True},
        iteration=iteration,
        inputs={"weights": weights, "dataset": dataset},
    )


def score_task(
    settings: CampaignSettings,
    generation: int,
    iteration: int,
    weights: str,
    structures: str,
) -> NewTask:
    """The task that asks a generation how far it knows frames that an older one flagged."""
    return _task(
        settings,
        "score",
        f"score/i{iteration}/g{generation}",
        {"generation": generation},
        iteration=iteration,
        inputs={"weights": weights, "structures": structures},
        priority=1,
    )


def property_tasks(
    settings: CampaignSettings,
    iteration: int,
    generation: int | None,
    weights: str = "",
    only: str | None = None,
) -> list[NewTask]:
    """Tasks that ask a generation, or the reference, for its properties; one for each suite.

    Their keys have a digest of all that the answer depends on: what was answered once is not asked
    again, and a suite with other settings is another one.

    Args:
        settings: The campaign's settings.
        iteration: Iteration that they are counted with.
        generation: Number of the generation; None for the level of theory that is the reference.
        weights: SHA-256 of the weights of the generation.
        only: Suites of this kind alone.
    """
    level = settings.validate.reference
    if generation is None and level is None:
        return []
    inputs = {} if generation is None else {"weights": weights}
    who: dict[str, Any] = {"generation": generation}
    name, identity = f"g{generation}", weights
    if generation is None and level is not None:
        labeler = settings.label.levels[level]
        elements = [atomic_number(symbol) for symbol in settings.system.elements]
        who = {"level": level, "labeler": _plain(labeler), "elements": elements}
        name, identity = f"level/{level}", level_digest(labeler)
    found = []
    for suite in settings.validate.suites:
        if only not in (None, suite.kind):
            continue
        digest = digest_of({"suite": _plain(suite), "of": identity})[:12]
        key = f"{PROPERTY}/{name}/{suite.kind}/{digest}"
        asked = {"suite": _plain(suite), **who}
        found.append(
            _task(settings, PROPERTY, key, asked, iteration=iteration, inputs=inputs)
        )
    return found


def asks_about(key: str) -> str:
    """What a validate task is about: `test`, `new`, or `pool`."""
    return key.rpartition("/")[2]


def is_held_out(key: str) -> bool:
    """Whether a label task is for labels to test on at a level that is not the primary one."""
    return key.split("/")[-2] == "test"


def _task(  # noqa: PLR0913
    settings: CampaignSettings,
    kind: str,
    key: str,
    parameters: Mapping[str, Any],
    *,
    iteration: int = 0,
    inputs: Mapping[str, str] | None = None,
    items: tuple[str, ...] = (),
    priority: int = 0,
    lot: str | None = None,
) -> NewTask:
    seed = child_seed(settings.seed, key)
    spec = TaskSpec(kind, key, seed, parameters, inputs or {}, items)
    return NewTask(spec, iteration, priority, lot)


def _plain(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(mode="json")
