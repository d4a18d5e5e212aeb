"""Whether numbers have the size that their unit suggests."""

from collections.abc import Iterator, Mapping
from typing import Any

from alflow.config.document import leaves
from alflow.core.findings import Finding

LARGEST_TEMPERATURE_K = 1e5
LARGEST_DENSITY_G_PER_CM3 = 50.0
"""About twice that of osmium, the densest element [g/cm³]."""
SMALLEST_TIMESTEP_FS = 0.01

_UNIT_ENDINGS = ("_K", "_ps", "_fs", "_A", "_eV", "_g_per_cm3", "_GPa", "_per_ps")
_RANGES = frozenset(
    {"atoms", "count", "molecules_per_structure"}
    | {"vacancies", "antisites", "interstitials", "adatoms"}
)
_KG_PER_M3 = 1000.0
_FS_PER_PS = 1000.0
_FS_PER_S = 1e15
_LARGEST_SECONDS = 1e-12

Path = tuple[str | int, ...]


def number(value: object) -> float | None:
    """The value if it is a number, None otherwise (booleans included)."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None  # type: ignore[arg-type]


def unit_findings(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Numbers that look as if they stood in another unit, and ranges that are upside down."""
    for path, value in leaves(data):
        quantity = _quantity(path)
        single = number(value)
        if single is not None:
            yield from _size(path, quantity, single)
        elif isinstance(value, list):
            yield from _order(path, quantity, value)


def _quantity(path: Path) -> str:
    """The nearest key with a unit in its name; a key that counts things ends the search."""
    for step in reversed(path):
        if isinstance(step, str) and (step.endswith(_UNIT_ENDINGS) or step in _RANGES):
            return step
    return ""


def _size(path: Path, quantity: str, value: float) -> Iterator[Finding]:
    if quantity.endswith("_K") and value > LARGEST_TEMPERATURE_K:
        message = f"is {value:g} K, hotter than {LARGEST_TEMPERATURE_K:g} K"
        yield Finding(path, message, "temperatures are in K", "AL121")
    elif quantity.endswith("_g_per_cm3") and value > LARGEST_DENSITY_G_PER_CM3:
        message = f"is {value:g} g/cm³, denser than any matter on earth"
        hint = f"g/cm³ expected; did you mean {value / _KG_PER_M3:g}?"
        yield Finding(path, message, hint, "AL121")
    elif quantity == "timestep_fs" and 0 < value < SMALLEST_TIMESTEP_FS:
        in_seconds = value < _LARGEST_SECONDS
        guess = value * (_FS_PER_S if in_seconds else _FS_PER_PS)
        unit = "s" if in_seconds else "ps"
        message = f"is {value:g} fs, which looks like {unit}"
        yield Finding(path, message, f"fs expected; did you mean {guess:g}?", "AL121")


def _order(path: Path, quantity: str, value: list[object]) -> Iterator[Finding]:
    bounds = [number(item) for item in value]
    if len(bounds) != 2 or not quantity:  # noqa: PLR2004
        return
    low, high = bounds
    if low is not None and high is not None and low > high:
        message = f"the range [{low:g}, {high:g}] is upside down"
        yield Finding(path, message, f"did you mean [{high:g}, {low:g}]?", "AL121")
