"""From the file that a validate task leaves to rows of the store."""

import numpy as np

from alflow.core.batches import read_arrays
from alflow.store import PredictionRow


def prediction_rows(content: bytes) -> list[PredictionRow]:
    """One row for each labelled structure of the task's dataset.

    Args:
        content: Output `predictions` of `alflow.tasks.validate`.
    """
    arrays = read_arrays(content)
    ends = np.cumsum(arrays["n_atoms"])
    forces = np.split(arrays["forces"], ends[:-1]) if len(ends) else []
    return [
        PredictionRow(
            label_id=int(arrays["label_id"][k]),
            energy=float(arrays["energy"][k]),
            energy_spread=float(arrays["energy_spread"][k]),
            force_rmse=None
            if np.isnan(arrays["force_rmse"][k])
            else float(arrays["force_rmse"][k]),
            force_spread_mean=float(arrays["force_spread_mean"][k]),
            force_spread_max=float(arrays["force_spread_max"][k]),
            force_scale=float(arrays["force_scale"][k]),
            forces=forces[k],
        )
        for k in range(len(ends))
    ]
