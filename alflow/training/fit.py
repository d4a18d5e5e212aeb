"""The stacked trainer: checks the data, starts or restarts the members, trains, packs weights."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alflow.core.batches import pack_dataset
from alflow.core.canonical import sha256_hex
from alflow.core.datasets import Dataset, LabelledStructure
from alflow.core.errors import SettingsError
from alflow.core.labels import Failure, FailureKind
from alflow.core.seeds import child_seed
from alflow.models.ani.ensemble import AniEnsemble
from alflow.models.ani.settings import AniSettings
from alflow.models.self_energies import fit_self_energies
from alflow.training.dataset import TrainingSet
from alflow.training.epochs import MAX_ROLLBACKS, EpochLoop, Plan
from alflow.training.settings import StackedSettings
from alflow.training.splits import holdout_masks

MIN_STRUCTURES = 2
"""With fewer, nothing can be held out."""
QUIET = 0.01
"""Features that vary less than this fraction of the largest variation count as varying so."""


@dataclass(slots=True)
class FitResult:
    """A trained ensemble.

    Attributes:
        weights: Bytes of a safetensors file with all members.
        members: For each member: seed, epochs, best_epoch, n_parameters (trained ones), n_train,
            n_holdout, rollbacks and train and hold-out RMSE [eV/atom, eV/Å]. What was not
            compared is left out.
        epochs: For each epoch: epoch, train_loss, learning_rate, active_members, rollbacks and
            hold-out RMSE [meV/atom, meV/Å].
    """

    weights: bytes
    members: list[dict[str, Any]]
    epochs: list[dict[str, float]]


class StackedTrainer:
    """Trains all members of an ANI ensemble at once, on energies and forces."""

    def __init__(self, settings: StackedSettings, model: AniSettings) -> None:
        """Keep the settings.

        Args:
            settings: How to train.
            model: What to train.
        """
        self._settings = settings
        self._model = model

    def train(
        self,
        data: Sequence[LabelledStructure],
        seed: int,
        initial: bytes | None,
        progress: Callable[[Mapping[str, float]], None],
    ) -> FitResult | Failure:
        """Train all members; the same arguments give the same bytes on one thread.

        Args:
            data: Labelled structures; those without forces count by their energy alone.
            seed: Seed of initial weights and of the order of the structures.
            initial: Weights of the parent generation, or None.
            progress: Called with the metrics of each epoch.

        Returns:
            The ensemble, or a failure of kind `diverged` if a member was rolled back too often.

        Raises:
            SettingsError: If the data cannot be trained on, or `initial` does not fit.
        """
        data = Dataset.of(data)
        check_data(data, needs_energies=self._settings.energy_weight > 0)
        ensemble, is_warm = self._starting_point(data, seed, initial)
        dtype = next(ensemble.networks.parameters()).dtype
        training_set = TrainingSet(
            data,
            ensemble.descriptor,
            dtype,
            self._settings.jacobian_budget_MB,
            self._settings.force_gradient,
        )
        ensemble.self_energies = self_energies_for(ensemble, training_set)
        training_set.subtract(
            [ensemble.self_energies[z] for z in ensemble.descriptor.elements]
        )
        if not is_warm:
            ensemble.networks.standardise(*standardisation(training_set, ensemble))
        held_out = holdout_masks(
            data,
            ensemble.networks.n_members,
            self._settings.folds,
            self._settings.split_seed,
        )
        frozen = self._frozen(ensemble) if is_warm else ()
        loop = EpochLoop(self._settings, training_set, ensemble.networks, held_out, frozen)
        diverged = loop.run(self._plan(training_set, seed, is_warm=is_warm), progress)
        if diverged:
            return _diverged(diverged, loop)
        loop.flat.write_to(ensemble.networks)
        metadata = {"trainer": "stacked", "training_digest": sha256_hex(pack_dataset(data))}
        return FitResult(
            ensemble.to_bytes(metadata), _members(loop, held_out, seed), loop.history
        )

    def _starting_point(
        self, data: Dataset, seed: int, initial: bytes | None
    ) -> tuple[AniEnsemble, bool]:
        elements = np.unique(data.numbers).tolist()
        if initial is None or not self._settings.warm_start:
            return self._model.create(elements, seed), False
        parent = AniEnsemble.from_bytes(initial)
        _check_parent(parent, self._model.create(parent.descriptor.elements, seed))
        parent.descriptor.species(torch.tensor(elements))
        return parent, True

    def _frozen(self, ensemble: AniEnsemble) -> tuple[int, ...]:
        layers, n_layers = self._settings.frozen_layers, ensemble.networks.n_layers
        unknown = [layer for layer in layers if layer >= n_layers]
        if unknown or len(set(layers)) == n_layers:
            raise SettingsError(
                f"train.frozen_layers is {list(layers)}, but the networks have the layers "
                f"{', '.join(map(str, range(n_layers)))}"
                + ("" if unknown else ": nothing is left to train"),
                consequence="Nothing was trained.",
                next_step="name some of them; 0 and 2 are what ANI-1ccx froze",
            )
        return layers

    def _plan(self, data: TrainingSet, seed: int, *, is_warm: bool) -> Plan:
        settings = self._settings
        batch_size = settings.structures_per_step(float(data.n_atoms.double().mean()))
        steps = math.ceil(len(data) / batch_size)
        epochs = settings.warm_epochs if is_warm else settings.epochs
        # A warm start needs as many steps less as it needs epochs less.
        minimum_steps = settings.minimum_steps * min(1.0, epochs / settings.epochs)
        rate = settings.warm_learning_rate if is_warm else settings.learning_rate
        return Plan(max(epochs, math.ceil(minimum_steps / steps)), batch_size, rate, seed)


def check_data(data: Sequence[LabelledStructure], *, needs_energies: bool) -> None:
    """Refuse data that no ensemble can be trained on.

    Args:
        data: Labelled structures.
        needs_energies: Whether energies count in the loss.

    Raises:
        SettingsError: If there are too few structures, a label is not finite, or there is
            nothing in the labels that counts.
    """
    if len(data) < MIN_STRUCTURES:
        raise SettingsError(
            f"there are {len(data)} labelled structures to train on; at least {MIN_STRUCTURES} "
            "are needed, so that each member can hold something out"
        )
    flat = Dataset.of(data)
    is_bad = np.repeat(flat.has_forces, flat.n_atoms) & ~np.isfinite(flat.forces).all(1)
    is_wrong = ~np.isfinite(flat.energy)
    is_wrong[np.repeat(np.arange(len(flat)), flat.n_atoms)[is_bad]] = True
    for k in np.flatnonzero(is_wrong).tolist():
        raise SettingsError(
            f"label {flat[k].label_id or k} ({flat[k].structure.formula}) is not finite",
            code="AL110",
        )
    if not needs_energies and not flat.has_forces.any():
        raise SettingsError(
            "energy_weight is 0 and no label has forces: nothing to train on"
        )


def self_energies_for(ensemble: AniEnsemble, data: TrainingSet) -> dict[int, float]:
    """Fit self energies [eV] to what the networks leave, by atomic number.

    For fresh networks, which are about to be trained from nothing, that is the whole energy.
    For networks of a parent generation it is a correction to the parent's self energies, so
    that a warm start begins where the parent ended.
    """
    elements = ensemble.descriptor.elements
    known = ensemble.self_energies
    if not any(known.values()):
        return fit_self_energies(elements, data.compositions, data.total_energies)
    with torch.no_grad():
        atomic = (
            ensemble.networks(data.features, data.species_idx).mean(0).to(torch.float64)
        )
    owner = torch.repeat_interleave(torch.arange(len(data)), data.n_atoms)
    networks = torch.zeros(len(data), dtype=torch.float64).index_add(0, owner, atomic)
    baseline = data.compositions @ np.array([known[z] for z in elements])
    rest = data.total_energies - baseline - networks.numpy()
    correction = fit_self_energies(elements, data.compositions, rest)
    return {z: known[z] + correction[z] for z in elements}


def standardisation(
    data: TrainingSet, ensemble: AniEnsemble
) -> tuple[Float[Tensor, "elements features"], Float[Tensor, "elements features"]]:
    """Mean and scale of the features of each element.

    The scale is the geometric mean of the feature's own standard deviation and the largest one
    of its element. Without a scale training is several times slower; with each feature's own
    it is fastest, but then features that hardly vary in the data shout on new structures.
    """
    n_elements = len(ensemble.descriptor.elements)
    mean = torch.zeros(n_elements, data.features.shape[1], dtype=data.features.dtype)
    scale = torch.ones_like(mean)
    for element in range(n_elements):
        rows = data.features[data.species_idx == element]
        if not len(rows):
            continue
        mean[element] = rows.mean(0)
        deviation = rows.std(0, correction=0)
        largest = deviation.max()
        if largest > 0:
            scale[element] = (deviation.clamp(min=QUIET * float(largest)) * largest).sqrt()
    return mean, scale


def _check_parent(parent: AniEnsemble, fresh: AniEnsemble) -> None:
    shapes = [
        [tuple(parameter.shape) for parameter in one.networks.parameters()]
        for one in (parent, fresh)
    ]
    if parent.descriptor.constants != fresh.descriptor.constants or shapes[0] != shapes[1]:
        raise SettingsError(
            "the weights of the parent generation do not fit the model settings",
            consequence="Nothing was trained.",
            next_step="set train.warm_start to false to start from random weights",
        )


def _members(
    loop: EpochLoop, held_out: Bool[np.ndarray, "members structures"], seed: int
) -> list[dict[str, Any]]:
    states, (trained, held) = loop.states, loop.scores()
    members = []
    for m, mask in enumerate(held_out):
        metrics = {
            "train_energy_rmse_eV_per_atom": trained[m].energy_rmse,
            "train_force_rmse_eV_per_A": trained[m].force_rmse,
            "holdout_energy_rmse_eV_per_atom": held[m].energy_rmse,
            "holdout_force_rmse_eV_per_A": held[m].force_rmse,
        }
        members.append(
            {
                "seed": child_seed(seed, "member", m),
                "epochs": int(states.last_epoch[m]) + 1,
                "best_epoch": int(states.best_epoch[m]),
                "n_parameters": loop.flat.n_trainable,
                "n_train": int((~mask).sum()),
                "n_holdout": int(mask.sum()),
                "rollbacks": int(states.rollbacks[m]),
                **{name: value for name, value in metrics.items() if math.isfinite(value)},
            }
        )
    return members


def _diverged(members: list[int], loop: EpochLoop) -> Failure:
    names = ", ".join(str(member) for member in members)
    return Failure(
        FailureKind.DIVERGED,
        f"training of member {names} gave numbers that are not finite, {MAX_ROLLBACKS} times "
        "in a row with half the learning rate each time",
        {"members": members, "epochs": loop.history},
    )
