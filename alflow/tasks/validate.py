"""Task `validate`: what a generation says about labelled structures, beside the labels.

Inputs: `weights`, `dataset`. Output file: `predictions`, arrays over structures: label_id,
n_atoms, energy [eV], energy_spread [eV, divided by the root of the number of atoms], force_rmse
[eV/Å, per component; NaN without force labels], force_spread_mean, force_spread_max and
force_scale [eV/Å]; and forces [eV/Å] of all atoms in one row of arrays. With the setting
`fingerprints` also fingerprint, a descriptor of each structure.
Values: n_structures, force_rmse_eV_per_A, energy_rmse_eV_per_atom, and error_per_spread: root
mean square error of the force on an atom divided by the root mean square spread.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from alflow.core.batches import LabelledStructure, unpack_dataset, write_arrays
from alflow.core.metrics import rmse
from alflow.core.protocols import TaskContext
from alflow.core.tasks import TaskSpec
from alflow.models.loading import best_device, load_potential
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch, Potential
from alflow.training.evaluate import Prediction, predict


def run(spec: TaskSpec, context: TaskContext) -> Mapping[str, Any]:
    """Predict, compare, and report both."""
    items = unpack_dataset(context.mapped(spec.inputs["dataset"]), is_verified=True)
    potential = load_potential(context.blob(spec.inputs["weights"]), best_device())
    predictions = predict(potential, [item.structure for item in items])
    arrays = _arrays(items, predictions)
    if spec.settings.get("fingerprints"):
        arrays["fingerprint"] = _fingerprints(items, potential)
    context.output("predictions", write_arrays(arrays))
    return _summary(items, predictions)


def _fingerprints(
    items: Sequence[LabelledStructure], potential: Potential
) -> Float[np.ndarray, "structures features"]:
    found = []
    for item in items:
        batch = Batch.from_structures([item.structure], device=potential.device)
        pairs = neighbour_pairs(batch, potential.cutoff_A)
        found.append(potential.fingerprint(batch, pairs).detach().double().cpu().numpy())
    return np.concatenate([*found, np.zeros((0, found[0].shape[1] if found else 0))])


def _arrays(
    items: Sequence[LabelledStructure], predictions: Sequence[Prediction]
) -> dict[str, np.ndarray]:
    sizes = np.array([item.structure.n_atoms for item in items], "<i8")
    scales = [np.linalg.norm(p.forces, axis=1).mean() for p in predictions]
    columns = {
        "energy": [p.energy for p in predictions],
        "energy_spread": [p.energy_spread for p in predictions] / np.sqrt(sizes),
        "force_rmse": [_force_rmse(i, p) for i, p in zip(items, predictions, strict=True)],
        "force_spread_mean": [p.force_spread.mean() for p in predictions],
        "force_spread_max": [p.force_spread.max() for p in predictions],
        "force_scale": scales,
    }
    return {
        "label_id": np.array([item.label_id for item in items], "<i8"),
        "n_atoms": sizes,
        "forces": np.concatenate([*[p.forces for p in predictions], np.zeros((0, 3))]),
        **{name: np.array(column, "<f8") for name, column in columns.items()},
    }


def _force_rmse(item: LabelledStructure, prediction: Prediction) -> float:
    if item.label.forces is None:
        return float("nan")
    return rmse(prediction.forces - item.label.forces)


def _summary(
    items: Sequence[LabelledStructure], predictions: Sequence[Prediction]
) -> dict[str, float]:
    pairs = list(zip(items, predictions, strict=True))
    energies = [(p.energy - i.label.energy) / i.structure.n_atoms for i, p in pairs]
    with_forces = [(i.label.forces, p) for i, p in pairs if i.label.forces is not None]
    summary = {"n_structures": float(len(pairs))}
    if pairs:
        summary["energy_rmse_eV_per_atom"] = rmse(np.array(energies))
    if with_forces:
        errors = np.concatenate([p.forces - forces for forces, p in with_forces])
        spread = np.concatenate([p.force_spread for _, p in with_forces])
        summary["force_rmse_eV_per_A"] = rmse(errors)
        error_per_atom, spread_per_atom = rmse(np.linalg.norm(errors, axis=1)), rmse(spread)
        if spread_per_atom > 0:
            summary["error_per_spread"] = error_per_atom / spread_per_atom
    return {name: value for name, value in summary.items() if np.isfinite(value)}
