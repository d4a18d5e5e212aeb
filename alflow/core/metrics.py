"""Error measures, in the units of what they are given."""

import numpy as np
from jaxtyping import Float


def rmse(difference: Float[np.ndarray, "..."]) -> float:
    """Root of the mean square of all entries; NaN if there is none."""
    values = np.asarray(difference, np.float64)
    return float(np.sqrt(np.mean(values**2))) if values.size else float("nan")


def mae(difference: Float[np.ndarray, "..."]) -> float:
    """Mean absolute value of all entries; NaN if there is none."""
    values = np.asarray(difference, np.float64)
    return float(np.mean(np.abs(values))) if values.size else float("nan")
