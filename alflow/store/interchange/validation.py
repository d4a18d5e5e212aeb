"""Finds mistakes in what a file brings, before any of it is stored. Pure: frames in, report out."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.core.labels import Label
from alflow.core.structures import hashes_of
from alflow.store.interchange.diagnosis import (
    ENERGY_UNIT,
    FORCE_TEST,
    LENGTH_UNIT,
    Diagnosis,
    Reading,
    diagnose,
)
from alflow.store.interchange.energies import energy_outliers
from alflow.store.interchange.frames import ImportedFrame
from alflow.store.interchange.report import AcceptedFrame, Quarantined, Validation
from alflow.store.interchange.screening import (
    DISTANCE,
    FORCE,
    INDISPENSABLE,
    NET_FORCE,
    PARITY,
    SHAPE,
    STRESS,
    Limits,
    fault_of,
)

ENERGY_WINDOW, CONFLICT = "energy-window", "conflict"

SKIPPABLE = (
    ENERGY_UNIT,
    LENGTH_UNIT,
    FORCE_TEST,
    DISTANCE,
    FORCE,
    NET_FORCE,
    STRESS,
    PARITY,
    ENERGY_WINDOW,
)
"""Checks that a user may leave out."""

_UNIT_CHECKS = frozenset({DISTANCE, FORCE, NET_FORCE, STRESS, PARITY})

SAME_ENERGY_EV = 1e-3
"""Energies [eV] that are closer are the same within the noise of a calculation."""
SAME_FORCE_EV_PER_A = 0.02


def validate(
    frames: Sequence[ImportedFrame], reading: Reading, limits: Limits
) -> Validation:
    """Sort the frames of a file into those that may be imported and those that must not be.

    Args:
        frames: The frames, in eV and Å.
        reading: How they were read.
        limits: What a frame may be like.
    """
    quarantined, sound = _screened(frames, limits)
    diagnosis = _diagnosed(frames, reading, limits)
    if diagnosis.refusals:
        # With wrong units nearly every frame fails some limit: that would be noise.
        basic = [one for one in quarantined if one.check in INDISPENSABLE]
        return _validation(frames, (), [], basic, diagnosis)
    if ENERGY_WINDOW not in limits.skipped:
        sound, outliers = _within_window(sound, limits.energy_window_eV)
        quarantined += outliers
    accepted, duplicates, conflicts = _distinct(sound)
    quarantined += conflicts
    return _validation(frames, accepted, duplicates, quarantined, diagnosis)


def same_label(one: Label, other: Label) -> bool:
    """Whether two labels of a structure agree, but for the noise of a calculation."""
    if abs(one.energy - other.energy) > SAME_ENERGY_EV:
        return False
    if one.forces is None or other.forces is None:
        return True
    return bool(np.abs(one.forces - other.forces).max() <= SAME_FORCE_EV_PER_A)


def _screened(
    frames: Sequence[ImportedFrame], limits: Limits
) -> tuple[list[Quarantined], list[ImportedFrame]]:
    quarantined, sound = [], []
    for frame in frames:
        fault = fault_of(frame, limits)
        if fault is None:
            sound.append(frame)
        else:
            quarantined.append(_quarantined(frame, *fault))
    return quarantined, sound


def _diagnosed(
    frames: Sequence[ImportedFrame], reading: Reading, limits: Limits
) -> Diagnosis:
    # Frames in wrong units fail limits, too, but must be looked at here.
    basic = Limits(limits.elements, skipped=_UNIT_CHECKS)
    usable = [frame for frame in frames if fault_of(frame, basic) is None]
    # Labels that contradict each other would hide what is wrong with all of them.
    left_out = {one.index for one in _distinct(usable)[2]}
    usable = [frame for frame in usable if frame.index not in left_out]
    return diagnose(usable, reading) if usable else Diagnosis()


def _within_window(
    frames: list[ImportedFrame], window_eV: float
) -> tuple[list[ImportedFrame], list[Quarantined]]:
    outliers = energy_outliers(frames, window_eV)
    quarantined = [
        _quarantined(
            frames[place],
            ENERGY_WINDOW,
            f"its energy is {value:+.3g} eV/atom away from that of its like "
            f"(limit {window_eV:g} eV/atom)",
        )
        for place, value in outliers.items()
    ]
    return [f for place, f in enumerate(frames) if place not in outliers], quarantined


def _distinct(
    frames: list[ImportedFrame],
) -> tuple[list[AcceptedFrame], list[int], list[Quarantined]]:
    """Each structure once; structures with labels that contradict each other not at all."""
    whole: list[AcceptedFrame] = []
    quarantined = []
    for frame in frames:
        try:
            whole.append(AcceptedFrame(frame, frame.structure(), frame.label()))
        except SettingsError as error:
            quarantined.append(_quarantined(frame, SHAPE, error.message))
    by_hash: dict[str, list[AcceptedFrame]] = defaultdict(list)
    for name, one in zip(hashes_of([w.structure for w in whole]), whole, strict=True):
        by_hash[name].append(one)
    accepted, duplicates = [], []
    for copies in by_hash.values():
        if all(same_label(copies[0].label, one.label) for one in copies[1:]):
            best = max(copies, key=lambda one: one.label.forces is not None)
            accepted.append(best)
            duplicates += [one.frame.index for one in copies if one is not best]
        else:
            quarantined += _conflicts(copies)
    return accepted, sorted(duplicates), quarantined


def _conflicts(copies: Sequence[AcceptedFrame]) -> list[Quarantined]:
    places = [str(one.frame.index) for one in copies]
    energies = [one.label.energy for one in copies]
    message = (
        f"frames {', '.join(places)} are the same structure with different labels "
        f"(energies differ by {max(energies) - min(energies):.4g} eV)"
    )
    return [_quarantined(one.frame, CONFLICT, message) for one in copies]


def _quarantined(frame: ImportedFrame, check: str, message: str) -> Quarantined:
    return Quarantined(frame.index, _formula(frame), check, message)


def _formula(frame: ImportedFrame) -> str:
    numbers = np.asarray(frame.numbers)
    known = numbers[(numbers > 0) & (numbers < len(SYMBOLS))]
    values, counts = np.unique(known, return_counts=True)
    return "".join(
        SYMBOLS[z] + (str(n) if n > 1 else "") for z, n in zip(values, counts, strict=True)
    )


def _validation(
    frames: Sequence[ImportedFrame],
    accepted: Sequence[AcceptedFrame],
    duplicates: Sequence[int],
    quarantined: Sequence[Quarantined],
    diagnosis: Diagnosis,
) -> Validation:
    return Validation(
        len(frames),
        tuple(sorted(accepted, key=lambda one: one.frame.index)),
        tuple(duplicates),
        tuple(sorted(quarantined, key=lambda one: one.index)),
        diagnosis.refusals,
        diagnosis.forces,
        diagnosis.notes,
    )
