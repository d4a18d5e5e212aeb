"""How long a timestep the elements of a system stand."""

import numpy as np

from alflow.core.elements import MASSES_AMU

LARGEST_TIMESTEP_H_FS = 1.0
"""An eighth of the period of the fastest vibration of hydrogen (about 4400 per cm) [fs]."""


def largest_timestep_fs(lightest: int) -> float:
    """Longest sensible timestep [fs] for systems whose lightest element has this atomic number.

    Vibration periods grow with the square root of the mass; hydrogen sets the scale.
    """
    return float(LARGEST_TIMESTEP_H_FS * np.sqrt(MASSES_AMU[lightest] / MASSES_AMU[1]))
