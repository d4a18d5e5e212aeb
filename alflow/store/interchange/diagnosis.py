"""Which mistake a file has, by what its numbers look like, and which option mends it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import log

from alflow.core.elements import SYMBOLS
from alflow.store.interchange.consistency import ForceTest, force_test
from alflow.store.interchange.energies import all_electron_ratio, recognised_unit
from alflow.store.interchange.frames import ImportedFrame
from alflow.store.interchange.screening import spacing
from alflow.store.interchange.units import (
    ENERGY_UNITS,
    FORCE_UNITS,
    LENGTH_UNITS,
    Units,
)

ENERGY_UNIT, LENGTH_UNIT, FORCE_TEST = "energy-unit", "length-unit", "force-test"
"""Names of the checks of whole files."""

GRADIENT = "--forces-are-gradient"

_ORGANIC = {"H", "C", "N", "O", "F"}
_N_SPACINGS = 200
_TOLERANCE = log(1.2)
_CLOSE = log(1.08)
_SAME = log(2) / 2
"""Half way to the next ratio of units in use."""
_CERTAIN = 0.95
"""Correlation from which a slope that nothing explains is a mistake nevertheless."""
_WRONG_SIGN = {
    False: "what is called forces is the gradient",
    True: "the forces are forces and no gradient",
}
_CONTRACTED, _EXPANDED = 0.65, 1.6
"""Spacings, in sums of covalent radii, that no sound file of molecules has."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A mistake that runs through a whole file.

    Attributes:
        check: Name of the check.
        message: What the numbers say.
        fix: Options to type; empty if none is known to help.
    """

    check: str
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file was read.

    Attributes:
        units: Units that its numbers were taken to be in.
        forces_are_gradient: Whether its forces were taken to be gradients.
        skipped: Names of checks that are left out.
    """

    units: Units
    forces_are_gradient: bool = False
    skipped: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What whole-file checks say.

    Attributes:
        refusals: Mistakes; the file must not be imported with one.
        forces: What the comparison of energies and forces found; None with too few pairs.
        notes: What could not be told, sentences.
    """

    refusals: tuple[Refusal, ...] = ()
    forces: ForceTest | None = None
    notes: tuple[str, ...] = ()


def diagnose(frames: Sequence[ImportedFrame], reading: Reading) -> Diagnosis:
    """Look for mistakes of unit and sign in frames that are sound one by one."""
    units = reading.units
    apart = spacing(frames[:: max(1, len(frames) // _N_SPACINGS)])
    energy = recognised_unit(all_electron_ratio(frames), str(units.energy))
    length = _recognised_length(frames, apart, str(units.length))
    forces = force_test(frames)
    mended = replace(units, energy=energy or units.energy, length=length or units.length)
    refusals = [*_energy(units, energy), *_length(units, length, apart)]
    if forces is not None:
        is_known = energy is not None, _CONTRACTED <= apart <= _EXPANDED
        refusals += _forces(forces, reading, mended, is_known)
    kept = tuple(one for one in refusals if one.check not in reading.skipped)
    return Diagnosis(kept, forces, tuple(_notes(frames, forces)))


def _energy(units: Units, recognised: str | None) -> Iterator[Refusal]:
    if recognised is None or recognised == units.energy:
        return
    factor = ENERGY_UNITS[recognised] / ENERGY_UNITS[str(units.energy)]
    yield Refusal(
        ENERGY_UNIT,
        f"energies are read as {units.energy} but have the size of total energies in {recognised} "
        f"(a factor of {factor:.4g})",
        f"--energy-unit {recognised}",
    )


def _recognised_length(
    frames: Sequence[ImportedFrame], apart: float, declared: str
) -> str | None:
    """The unit in which bonds have usual lengths; None if that cannot be told.

    Wide spacings are a mistake in organic molecules only: noble gases are like that.
    """
    some = frames[:_N_SPACINGS]
    elements = {SYMBOLS[z] for frame in some for z in frame.numbers}
    is_organic = elements <= _ORGANIC and not any(frame.pbc.any() for frame in some)
    if not (apart < _CONTRACTED or (apart > _EXPANDED and is_organic)):
        return declared if apart <= _EXPANDED else None
    wanted = LENGTH_UNITS[declared] / apart
    return min(LENGTH_UNITS, key=lambda unit: abs(log(LENGTH_UNITS[unit] / wanted)))


def _length(units: Units, recognised: str | None, apart: float) -> Iterator[Refusal]:
    if recognised is None or recognised == units.length:
        return
    yield Refusal(
        LENGTH_UNIT,
        f"coordinates are read as {units.length}, and neighbouring atoms are typically "
        f"{apart:.2f} of the sum of their covalent radii apart",
        f"--length-unit {recognised}",
    )


def _forces(
    test: ForceTest, reading: Reading, mended: Units, is_known: tuple[bool, bool]
) -> Iterator[Refusal]:
    """What a slope that is not one means, once other units are as they should be."""
    seen = (
        f"energy changes are {test.slope:.3g} times what the forces say "
        f"({test.n_pairs} pairs of neighbouring frames, correlation {test.correlation:.3f})"
    )
    if test.is_unrelated:
        why = "energies and forces do not belong together; is the order of atoms the same?"
        yield Refusal(FORCE_TEST, f"{why} {seen}")
    if not test.is_sound:
        return
    sign = _sign_fix(reading) if test.slope < 0 else ""
    fix = _unit_fix(_slope_left(test, reading.units, mended), mended, is_known)
    if fix is None and abs(test.correlation) < _CERTAIN:
        fix = ""
    if sign or fix != "":
        wrong = [_WRONG_SIGN[reading.forces_are_gradient]] if sign else []
        wrong += ["units of energies and forces do not go together"] if fix != "" else []
        options = " ".join(part for part in (sign, fix) if part)
        yield Refusal(FORCE_TEST, f"{' and '.join(wrong)}: {seen}", options)


def _slope_left(test: ForceTest, units: Units, mended: Units) -> float:
    """Size of the slope that is left with energies and lengths in the mended units."""
    before, after = units.factors(), mended.factors()
    energy, length = after.energy / before.energy, after.length / before.length
    return abs(test.slope) * before.force / after.force * energy / length


def _sign_fix(reading: Reading) -> str:
    return f"(without {GRADIENT})" if reading.forces_are_gradient else GRADIENT


def _unit_fix(slope: float, units: Units, is_known: tuple[bool, bool]) -> str | None:
    """Options that bring the slope to one; empty if it is, None if nothing known does.

    A slope is a ratio of units, and more than one unit may explain it: energies and lengths that
    are known to be right are left alone.

    Args:
        slope: Size of the slope.
        units: Units that it was found with.
        is_known: Whether the unit of energies is known, and that of lengths.
    """
    if abs(log(slope)) < _SAME:
        return ""
    found = list(_force_units(slope, units))
    if not is_known[0]:
        found += _energy_units(slope, units)
    if not is_known[1]:
        found += _length_units(slope, units)
    return min(found)[-1] if found else None


Explanation = tuple[bool, int, float, str]
"""Whether it is far off, how unusual it would be, how far off it is, the options."""


def _force_units(slope: float, units: Units) -> Iterator[Explanation]:
    declared = units.force_name()
    for place, (name, size) in enumerate(FORCE_UNITS.items()):
        off = abs(log(slope * FORCE_UNITS[declared] / size))
        if name != declared and off < _TOLERANCE:
            energy, length = name.rsplit("/", 1)
            foreign = (energy != units.energy) + (length != units.length)
            yield off > _CLOSE, 100 * foreign + place, off, f"--force-unit {name}"


def _energy_units(slope: float, units: Units) -> Iterator[Explanation]:
    declared = str(units.energy)
    for place, (name, size) in enumerate(ENERGY_UNITS.items()):
        off = abs(log(slope * size / ENERGY_UNITS[declared]))
        if name != declared and off < _TOLERANCE:
            fix = f"--energy-unit {name} --force-unit {units.force_name()}"
            yield off > _CLOSE, 50 + place, off, fix


def _length_units(slope: float, units: Units) -> Iterator[Explanation]:
    declared = str(units.length)
    for place, (name, size) in enumerate(LENGTH_UNITS.items()):
        off = abs(log(slope * LENGTH_UNITS[declared] / size))
        if name != declared and off < _TOLERANCE:
            fix = f"--length-unit {name} --force-unit {units.force_name()}"
            yield off > _CLOSE, 10 + place, off, fix


def _notes(frames: Sequence[ImportedFrame], test: ForceTest | None) -> Iterator[str]:
    if not any(frame.forces is not None for frame in frames):
        yield "the file has no forces; only energies are imported"
    elif test is None:
        yield "too few neighbouring frames to compare forces with energies"
    elif not test.is_sound:
        yield (
            f"forces could not be compared with energies: correlation {test.correlation:.2f} over "
            f"{test.n_pairs} pairs that are typically {test.step_A:.2f} Å apart"
        )
