"""The stacked trainer: checks the data, starts or restarts the members, trains, packs weights."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alflow.core.batches import pack_dataset
from alflow.core.canonical import digest_of, sha256_hex
from alflow.core.datasets import Dataset, LabelledStructure
from alflow.core.held_out import HeldOutErrors
from alflow.core.labels import Failure, FailureKind
from alflow.core.protocols import TrainingContext
from alflow.models.ani.ensemble import AniEnsemble
from alflow.models.ani.network import StackedNetworks
from alflow.models.ani.settings import AniSettings
from alflow.models.self_energies import fit_self_energies
from alflow.training.baseline import fitted, without_repulsion
from alflow.training.checkpoint import Keeper
from alflow.training.checks import (
    beyond_cap,
    check_data,
    check_parent,
    members_of,
    unused_stresses,
    within_cap,
)
from alflow.training.dataset import TrainingSet
from alflow.training.epochs import EpochLoop, Evaluation, Plan, frame_weights
from alflow.training.levels import level_gap
from alflow.training.members import MAX_ROLLBACKS
from alflow.training.offsets import settle_energies
from alflow.training.optimiser import FlatNetworks
from alflow.training.rounds import (
    Reason,
    Round,
    Rounds,
    Standing,
    fresh_networks,
    member_seed,
)
from alflow.training.settings import StackedSettings
from alflow.training.splits import holdout_masks

QUIET = 0.01
"""Features that vary less than this fraction of the largest variation count as varying so."""


@dataclass(slots=True)
class FitResult:
    """A trained ensemble.

    Attributes:
        weights: Bytes of a safetensors file with all members.
        members: For each trained member: its number (`member`), seed, epochs, best_epoch,
            n_parameters (trained ones), n_train, n_holdout, rollbacks, retrained (how often it
            began anew from random weights) and train and hold-out RMSE [eV/atom, eV/Å, eV/Å³].
            What was not compared is left out.
        epochs: For each epoch: epoch, train_loss, learning_rate, active_members, rollbacks and
            hold-out RMSE [meV/atom, meV/Å]; `round`, if members begin anew in it.
        held_out: Errors of members on labels that they were not trained on.
    """

    weights: bytes
    members: list[dict[str, Any]]
    epochs: list[dict[str, float]]
    held_out: HeldOutErrors


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
        context: TrainingContext | None = None,
    ) -> FitResult | Failure:
        """Train all members; the same arguments give the same bytes on one thread.

        Interrupted, and called again with the same arguments, it goes on from the last checkpoint
        in `context` and gives the same bytes, too.

        Args:
            data: Labelled structures; those without forces count by their energy alone.
            seed: Seed of initial weights and of the order of the structures.
            initial: Weights of the parent generation, or None.
            progress: Called with the metrics of each epoch, `epochs` and `seconds_left`.
            context: Where checkpoints are kept and notes go, or None.

        Returns:
            The ensemble, or a failure of kind `diverged` if too few members could be trained.

        Raises:
            SettingsError: If the data cannot be trained on, or `initial` does not fit.
        """
        given = Dataset.of(data)
        check_data(given, self._settings)
        data = within_cap(given, self._settings.max_force_eV_per_A)
        least = self._settings.least_members(self._model.members)
        ensemble, present, is_warm = self._starting_point(data, seed, initial)
        if not is_warm:
            ensemble.repulsion = fitted(given, ensemble.repulsion)
        training_set = self._prepared(data, ensemble, is_warm=is_warm)
        if context is not None:
            self._note(context, given, data, training_set, ensemble)
        held_out = holdout_masks(
            data, self._model.members, self._settings.folds, self._settings.split_seed
        )
        data_digest = sha256_hex(pack_dataset(given))
        rounds = Rounds(
            self._settings,
            training_set,
            held_out,
            Round(
                present,
                ensemble.networks,
                self._plan(training_set, seed, is_warm=is_warm),
                self._settings.frozen_layers if is_warm else (),
            ),
            self._plan(training_set, seed, is_warm=False),
            self._keeper(context, data_digest, seed, initial),
        )
        standing = rounds.run(progress)
        members = sorted(standing.records)
        _tell(standing, self._model.members, context)
        if len(members) < least:
            return _diverged(standing, self._model.members, least)
        networks = rounds.networks(members, standing)
        if not is_warm or networks.n_layers - 1 not in self._settings.frozen_layers:
            self._settle(networks, training_set, held_out[members])
        errors = EpochLoop(
            self._settings, training_set, networks, held_out[members]
        ).evaluate()
        metadata = {"trainer": "stacked", "training_digest": data_digest}
        if len(members) < self._model.members:
            metadata["members"] = json.dumps(members)
        return FitResult(
            _replaced(ensemble, networks).to_bytes(metadata),
            _members(standing, held_out, seed, errors),
            standing.history,
            HeldOutErrors(data.label_id, errors.energy, errors.force),
        )

    def _settle(
        self,
        networks: StackedNetworks,
        training_set: TrainingSet,
        held_out: Bool[np.ndarray, "members structures"],
    ) -> None:
        """Put the energies of members where those labels have them that they may see."""
        settle_energies(
            networks,
            training_set,
            torch.from_numpy(~held_out),
            frame_weights(training_set, self._settings.frame_force_scale_eV_per_A),
            self._settings.robust_energy_eV_per_atom,
        )

    def _prepared(
        self, data: Dataset, ensemble: AniEnsemble, *, is_warm: bool
    ) -> TrainingSet:
        """What networks learn from: labels less repulsion and self energies.

        A fresh ensemble gets its self energies and its scale of features here.
        """
        training_set = TrainingSet(
            without_repulsion(data, ensemble.repulsion),
            ensemble.descriptor,
            next(ensemble.networks.parameters()).dtype,
            self._settings.jacobian_budget_MB,
            self._settings.force_gradient,
            with_stress=self._settings.stress_weight > 0,
        )
        ensemble.self_energies = self_energies_for(
            ensemble, training_set, is_trained=is_warm
        )
        elements = ensemble.descriptor.elements
        training_set.subtract([ensemble.self_energies[z] for z in elements])
        if not is_warm:
            ensemble.networks.standardise(*standardisation(training_set, ensemble))
        return training_set

    def _note(
        self,
        context: TrainingContext,
        given: Dataset,
        data: Dataset,
        training_set: TrainingSet,
        ensemble: AniEnsemble,
    ) -> None:
        """Pass on what a user should know about the data, of which some are left out."""
        gap = level_gap(data, training_set, ensemble.descriptor.elements)
        unused = unused_stresses(data, self._settings.stress_weight)
        capped = beyond_cap(len(given) - len(data), self._settings.max_force_eV_per_A)
        for text in filter(None, (gap, unused, capped)):
            context.note(text)

    def _starting_point(
        self, data: Dataset, seed: int, initial: bytes | None
    ) -> tuple[AniEnsemble, tuple[int, ...], bool]:
        """Where to start, which members these are, and whether they are trained already."""
        elements = np.unique(data.numbers).tolist()
        if initial is None or not self._settings.warm_start:
            members = tuple(range(self._model.members))
            return self._model.create(elements, seed), members, False
        parent = AniEnsemble.from_bytes(initial)
        fresh = self._model.create(parent.descriptor.elements, seed)
        members = members_of(parent)
        check_parent(parent, members, fresh, elements)
        return parent, members, True

    def _keeper(
        self,
        context: TrainingContext | None,
        data_digest: str,
        seed: int,
        initial: bytes | None,
    ) -> Keeper:
        what = {
            "train": self._settings.model_dump(mode="json"),
            "model": self._model.model_dump(mode="json"),
            "data": data_digest,
            "seed": seed,
            "initial": None if initial is None else sha256_hex(initial),
        }
        minutes = self._settings.checkpoint_minutes
        return Keeper(context, digest_of(what), None if minutes is None else 60 * minutes)

    def _plan(self, data: TrainingSet, seed: int, *, is_warm: bool) -> Plan:
        settings = self._settings
        batch_size = settings.structures_per_step(float(data.n_atoms.double().mean()))
        steps = math.ceil(len(data) / batch_size)
        epochs = settings.warm_epochs if is_warm else settings.epochs
        # A warm start needs as many steps less as it needs epochs less.
        minimum_steps = settings.minimum_steps * min(1.0, epochs / settings.epochs)
        rate = settings.warm_learning_rate if is_warm else settings.learning_rate
        return Plan(max(epochs, math.ceil(minimum_steps / steps)), batch_size, rate, seed)


def self_energies_for(
    ensemble: AniEnsemble, data: TrainingSet, *, is_trained: bool
) -> dict[int, float]:
    """Fit self energies [eV] to what the networks leave, by atomic number.

    For fresh networks, which are about to be trained from nothing, that is the whole energy.
    For networks of a parent generation it is a correction to the parent's self energies, so
    that a warm start begins where the parent ended.
    """
    elements = ensemble.descriptor.elements
    known = ensemble.self_energies
    if not is_trained:
        return fit_self_energies(elements, data.compositions, data.total_energies)
    with torch.no_grad():
        by_member = ensemble.networks(data.features, data.species_idx)
    # A member whose weights are broken will diverge; it must not take the others along.
    by_member = by_member[by_member.isfinite().all(1)]
    atomic = (
        by_member.mean(0) if len(by_member) else data.features.new_zeros(len(data.features))
    ).to(torch.float64)
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


def _replaced(ensemble: AniEnsemble, networks: StackedNetworks) -> AniEnsemble:
    """The same ensemble with other networks, copied."""
    whole = FlatNetworks(networks)
    seeds = [0] * networks.n_members
    target = fresh_networks(ensemble.networks, seeds)
    whole.write_to(target)
    return AniEnsemble(
        ensemble.descriptor, target, ensemble.self_energies, ensemble.repulsion
    )


def _members(
    standing: Standing,
    held_out: Bool[np.ndarray, "members structures"],
    seed: int,
    errors: Evaluation,
) -> list[dict[str, Any]]:
    members = []
    scores = zip(sorted(standing.records), errors.trained, errors.held, strict=True)
    for m, trained, held in scores:
        metrics = {
            "train_energy_rmse_eV_per_atom": trained.energy_rmse,
            "train_force_rmse_eV_per_A": trained.force_rmse,
            "holdout_energy_rmse_eV_per_atom": held.energy_rmse,
            "holdout_force_rmse_eV_per_A": held.force_rmse,
            "train_stress_rmse_eV_per_A3": trained.stress_rmse,
            "holdout_stress_rmse_eV_per_A3": held.stress_rmse,
        }
        record, mask = standing.records[m], held_out[m]
        members.append(
            {
                "member": m,
                "seed": member_seed(seed, m, record.number),
                "epochs": record.epochs,
                "best_epoch": record.best_epoch,
                "n_parameters": record.n_parameters,
                "n_train": int((~mask).sum()),
                "n_holdout": int(mask.sum()),
                "rollbacks": record.rollbacks,
                "retrained": len(standing.reasons.get(m, [])),
                **{name: value for name, value in metrics.items() if math.isfinite(value)},
            }
        )
    return members


_WHY: Mapping[Reason, str] = {
    "diverged": f"gave numbers that are not finite, or a loss that exploded, {MAX_ROLLBACKS} "
    "times in a row with half the learning rate each time",
    "clone": "became a copy of an earlier member",
    "missing": "was missing from the parent generation",
}


def _tell(standing: Standing, n_members: int, context: TrainingContext | None) -> None:
    """Say what happened to members that did not simply train."""
    if context is None:
        return
    for member, reasons in sorted(standing.reasons.items()):
        why = "; ".join(_WHY[reason] for reason in dict.fromkeys(reasons))
        if member in standing.records:
            times = f"{len(reasons)} time{'s' if len(reasons) > 1 else ''}"
            what = f"it began anew from random weights {times}"
        else:
            n_anew = len(reasons) - 1
            again = (
                f" {n_anew} new beginning{'s' if n_anew > 1 else ''} later"
                if n_anew
                else ""
            )
            trained = f"{len(standing.records)} of {n_members} members are trained"
            what = f"it is left out{again}: {trained}"
        context.note(f"member {member} {why}; {what}")


def _diverged(standing: Standing, n_members: int, least: int) -> Failure:
    lost = [member for member in range(n_members) if member not in standing.records]
    names = ", ".join(map(str, lost))
    reasons = dict.fromkeys(
        reason for member in lost for reason in standing.reasons.get(member, [])
    )
    why = "; ".join(_WHY[reason] for reason in reasons)
    return Failure(
        FailureKind.DIVERGED,
        f"{len(standing.records)} of {n_members} members could be trained, fewer than "
        f"minimum_members ({least}). Member {names} {why}. The generation was not made. Look for "
        "wrong labels (alflow ls structures), or lower train.learning_rate",
        {"members": lost, "epochs": standing.history},
    )
