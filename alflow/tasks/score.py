"""Task `score`: what a generation says about structures that have no label.

Inputs: `weights`, `structures`. Output file: `spreads`, arrays over structures: energy [eV, divided
by the root of the number of atoms], force_mean, force_max and force_scale [eV/Å].
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from alflow.core.batches import unpack_structures, write_arrays
from alflow.core.protocols import TaskContext
from alflow.core.tasks import TaskSpec
from alflow.models.loading import best_device, load_potential
from alflow.training.evaluate import predict


def run(spec: TaskSpec, context: TaskContext) -> Mapping[str, Any]:
    """Predict, and keep what the ensemble disagrees about."""
    structures = unpack_structures(context.blob(spec.inputs["structures"]))
    potential = load_potential(context.blob(spec.inputs["weights"]), best_device())
    said = predict(potential, structures)
    columns = {
        "energy": [
            one.energy_spread / np.sqrt(structure.n_atoms)
            for one, structure in zip(said, structures, strict=True)
        ],
        "force_mean": [one.force_spread.mean() for one in said],
        "force_max": [one.force_spread.max() for one in said],
        "force_scale": [np.linalg.norm(one.forces, axis=1).mean() for one in said],
    }
    arrays = {name: np.array(column, "<f8") for name, column in columns.items()}
    context.output("spreads", write_arrays(arrays))
    return {"n_structures": len(structures)}
