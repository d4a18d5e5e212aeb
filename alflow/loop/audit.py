"""Which labels to doubt, and what came of computing them again: pure functions.

That members which never saw a label contradict it has two reasons: it is wrong, or it is of a
structure unlike all others. Their errors cannot tell which; another calculation can.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float

from alflow.config.campaign import AuditSettings
from alflow.core.held_out import HeldOutErrors
from alflow.core.seeds import child_seed
from alflow.store.audits import Audit

LEAST_LABELS = 8
"""With fewer labels nothing is doubted: there is no telling what is usual."""
LEAST_SUSPECTS = 2
"""Labels that an iteration may doubt, however few there are."""
PER_REFUTED = 4
"""Further labels that may be doubted for each one that was refuted."""
_MAD_PER_SIGMA = 0.6745
"""Median absolute deviation of a normal distribution of unit width."""


def strangeness(errors: HeldOutErrors) -> dict[int, float]:
    """By how many robust standard deviations each label is off, in energy or force.

    The larger of the two counts; 0 where there is no number.
    """
    # An error of forces is no less than zero: only large ones are strange.
    energy, force = np.abs(_deviations(errors.energy)), _deviations(errors.force)
    worst = np.maximum(energy, np.maximum(force, 0))
    return dict(zip(errors.label_id.tolist(), worst.tolist(), strict=True))


def doubted(strange: Mapping[int, float], sigma: float) -> list[int]:
    """Ids of the labels that are stranger than `sigma`, the strangest first."""
    found = [one for one, off in strange.items() if off > sigma]
    return sorted(found, key=lambda one: (-strange[one], one))


def n_allowed(settings: AuditSettings, n_labels: int, n_refuted: int) -> int:
    """How many labels an iteration may doubt when so many of them were refuted."""
    if settings.suspects == 0:
        return 0
    share = math.ceil(settings.suspects * n_labels)
    return max(LEAST_SUSPECTS, share) + PER_REFUTED * n_refuted


def drawn(hashes: Iterable[str], fraction: float, seed: int) -> list[str]:
    """The random share of structures whose labels are computed again.

    It depends on the structures alone, not on the order in which they came.
    """
    every = sorted(set(hashes), key=lambda one: (child_seed(seed, "audit", one), one))
    return every[: math.ceil(fraction * len(every))]


def refutation(audit: Audit, settings: AuditSettings) -> str:
    """Why a label is not to be trusted, a sentence; empty if it is."""
    energy = abs(audit.energy) / math.sqrt(audit.n_atoms)
    if energy > settings.energy_tolerance_eV:
        return (
            f"computed again, its energy differs by {audit.energy:+.3g} eV "
            f"({energy:.2g} eV by the root of {audit.n_atoms} atoms; "
            f"label.audit.energy_tolerance_eV is {settings.energy_tolerance_eV:g})"
        )
    if audit.force > settings.force_tolerance_eV_per_A:
        return (
            f"computed again, its forces differ by {audit.force:.2g} eV/Å (RMS; "
            f"label.audit.force_tolerance_eV_per_A is {settings.force_tolerance_eV_per_A:g})"
        )
    return ""


def _deviations(values: Float[np.ndarray, " labels"]) -> Float[np.ndarray, " labels"]:
    """Deviations from the median in robust standard deviations; 0 where there is no number."""
    known = np.isfinite(values)
    if known.sum() < LEAST_LABELS:
        return np.zeros(len(values))
    off = np.where(known, values - np.median(values[known]), 0.0)
    sigma = np.median(np.abs(off[known])) / _MAD_PER_SIGMA
    # Errors that are mostly equal, zero for example, leave no measure of what is usual.
    return off / sigma if sigma > 0 else np.zeros(len(values))
