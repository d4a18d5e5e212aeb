"""Trains a generation once more from what the store holds, and compares; the store is only read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alflow.config.resolution import settings_from_resolved
from alflow.core.batches import pack_dataset
from alflow.core.canonical import sha256_hex
from alflow.core.errors import StoreError
from alflow.core.metrics import rmse
from alflow.core.tasks import AttemptRef
from alflow.execution.files import CampaignFiles
from alflow.loop.rerun import TOKEN, rerun
from alflow.models.loading import load_potential
from alflow.store import Split, Store
from alflow.store.lineage import show
from alflow.store.repeating import environment_of, task_of, training_task
from alflow.training.evaluate import predict

ENERGY_NOISE_EV_PER_ATOM = 1e-3
"""Root mean square difference of energies that rounding alone may make [eV/atom]."""
FORCE_NOISE_EV_PER_A = 1e-2
"""The same of force components [eV/Å]. Rounding is amplified by every step of a training."""
_SURROUNDINGS = ("alflow", "python", "host", "devices", "threads")
"""What of an environment is compared beside the versions of packages."""


@dataclass(frozen=True, slots=True)
class MemberPair:
    """One member, as it was stored and as it came out now.

    Attributes:
        member: Its number.
        stored: Seed, best epoch and metrics by name.
        found: The same of the new one.
    """

    member: int
    stored: Mapping[str, Any]
    found: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Predictions:
    """How far the mean predictions of the two ensembles are apart.

    Attributes:
        split: Which structures were looked at: `test`, or `train` where there is no test set.
        n_structures: How many.
        energy_eV_per_atom: Root mean square difference of the energies.
        force_eV_per_A: Root mean square difference of the force components.
    """

    split: str
    n_structures: int
    energy_eV_per_atom: float
    force_eV_per_A: float


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What came of training a generation once more.

    Attributes:
        generation: Its number.
        stored_sha256: Checksum of its weights in the store.
        found_sha256: Checksum of the weights now; empty if training failed.
        failure: Why training failed, or an empty string.
        members: Members of both, where the weights differ.
        predictions: How far they are apart, where the weights differ.
        surroundings: What differs between then and now: name to both values.
        wall_s: Time that it took [s].
    """

    generation: int
    stored_sha256: str
    found_sha256: str
    failure: str = ""
    members: tuple[MemberPair, ...] = ()
    predictions: Predictions | None = None
    surroundings: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    wall_s: float = 0.0

    @property
    def is_equal(self) -> bool:
        """Whether all weights are the same, bit by bit."""
        return self.found_sha256 == self.stored_sha256

    def is_reproduced(self, *, energy_noise: float, force_noise: float) -> bool:
        """Whether the weights are equal, or predict the same but for float noise.

        Args:
            energy_noise: Largest difference of energies [eV/atom].
            force_noise: Largest difference of forces [eV/Å].
        """
        if self.is_equal:
            return True
        far = self.predictions
        return far is not None and (
            far.energy_eV_per_atom <= energy_noise and far.force_eV_per_A <= force_noise
        )


def reproduce(store: Store, generation: int, directory: Path) -> Reproduction:
    """Train a generation once more with its snapshot, settings, seed and parent's weights.

    Args:
        store: The store; reading is enough.
        generation: Its number.
        directory: An empty folder to work in.

    Raises:
        StoreError: If there is no such generation, or it is not trained; if its snapshot or
            weights are not what they were.
    """
    stored = store.weights(generation)
    task = task_of(store, training_task(store, generation))
    _check_snapshot(store, generation, task.spec.inputs["dataset"])
    was = environment_of(store, task.id)
    done = rerun(store, task.id, directory)
    sha, wall_s = sha256_hex(stored), done.outcome.wall_s
    differ = _differences(was, done.outcome.environment)
    if done.outcome.failure is not None:
        why = done.outcome.failure.message
        return Reproduction(generation, sha, "", why, surroundings=differ, wall_s=wall_s)
    attempt = AttemptRef(task.id, 1, TOKEN, task.spec.kind)
    weights = CampaignFiles(done.directory).read_output(attempt, "weights")
    if weights == stored:
        return Reproduction(generation, sha, sha, surroundings=differ, wall_s=wall_s)
    return Reproduction(
        generation,
        sha,
        sha256_hex(weights),
        "",
        _members(store, generation, done.outcome.values),
        _predictions(store, generation, stored, weights),
        differ,
        wall_s,
    )


def _check_snapshot(store: Store, generation: int, dataset: str) -> None:
    """Refuse a snapshot that is not what the generation was trained on."""
    level = store.level_of(generation)
    items = store.dataset(Split.TRAIN, level, generation=generation)
    if sha256_hex(pack_dataset(items)) != dataset:
        raise StoreError(
            f"the snapshot of g{generation} is not what it was trained on: a label or a "
            "structure in the database has changed since",
            consequence="Nothing was trained.",
            next_step="alflow db check",
        )


def _level(store: Store) -> str:
    return settings_from_resolved(store.campaign().config).label.primary


def _members(
    store: Store, generation: int, values: Mapping[str, Any]
) -> tuple[MemberPair, ...]:
    stored = {one["member"]: one for one in show(store, f"g{generation}")["members"]}
    found = {
        one.get("member", place): {k: v for k, v in one.items() if k != "member"}
        for place, one in enumerate(values["members"])
    }
    pairs = []
    for number in sorted({*stored, *found}):
        before, after = stored.get(number, {}), found.get(number, {})
        known = {
            **{key: before[key] for key in ("seed", "best_epoch") if key in before},
            **before.get("metrics", {}),
        }
        pairs.append(MemberPair(number, known, after))
    return tuple(pairs)


def _predictions(
    store: Store, generation: int, stored: bytes, found: bytes
) -> Predictions | None:
    """How far two ensembles are apart on the test set, or else on their training set."""
    level, split = store.level_of(generation), Split.TEST
    own = None if level == _level(store) else generation
    items = store.dataset(split, level, generation=own)
    if not len(items):
        split = Split.TRAIN
        items = store.dataset(split, level, generation=generation)
    structures = [item.structure for item in items]
    if not structures:
        return None
    both = [predict(load_potential(weights), structures) for weights in (stored, found)]
    pairs = list(zip(structures, *both, strict=True))
    energies = [(one.energy - other.energy) / s.n_atoms for s, one, other in pairs]
    forces = [one.forces - other.forces for _, one, other in pairs]
    return Predictions(
        str(split), len(pairs), rmse(np.array(energies)), rmse(np.concatenate(forces))
    )


def _differences(
    was: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """What differs between two environments, by name; where the first says nothing, nothing."""
    if not was:
        return {}
    sides = [
        {
            **{name: one.get(name) for name in _SURROUNDINGS},
            **one.get("packages", {}),
        }
        for one in (was, now)
    ]
    # A package that only one of them had imported says nothing about numbers.
    names = [name for name in sides[0] if name in sides[1]]
    return {
        name: (sides[0][name], sides[1][name])
        for name in names
        if sides[0][name] != sides[1][name]
    }
