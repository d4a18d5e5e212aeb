"""Numbers as a person reads them."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

NONE = "–"
"""Stands where there is no number."""

THIN_SPACE = "\u202f"
"""Between thousands: narrow, and no line breaks there."""


def significant(value: float | None, digits: int = 3) -> str:
    """A number with this many significant digits and no exponent where it can be helped."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    if abs(rounded) >= 10**7 or abs(rounded) < 1e-4:  # noqa: PLR2004
        return f"{value:.{digits - 1}e}"
    return f"{rounded:,.{max(places, 0)}f}".replace(",", THIN_SPACE)


def milli(value: float | None, digits: int = 3) -> str:
    """A number in thousandths of its unit: eV/Å as meV/Å."""
    return significant(None if value is None else value * 1000, digits)


def percent(fraction: float | None) -> str:
    """A fraction as per cent, with a decimal where it is near 0 or 100."""
    if fraction is None or not math.isfinite(fraction):
        return NONE
    value = fraction * 100
    small = 0 < abs(value) < 9.95 or 99 < value < 100  # noqa: PLR2004
    return f"{value:.1f} %" if small else f"{value:.0f} %"


def count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun, singular or plural."""
    word = noun if number == 1 else plural or f"{noun}s"
    return f"{grouped(number)} {word}"


def grouped(number: int) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{number:,}".replace(",", THIN_SPACE)


def duration(seconds: float) -> str:
    """A time span in the largest unit that makes sense."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{significant(seconds / size, 2)} {unit}"
    return f"{significant(seconds, 2)} s"


def moment(timestamp: float | None) -> str:
    """A UTC time to the second."""
    if timestamp is None:
        return NONE
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def simulated(time_fs: float | None) -> str:
    """A simulated time in fs or ps."""
    if time_fs is None:
        return NONE
    if time_fs < 1000:  # noqa: PLR2004
        return f"{significant(time_fs, 3)} fs"
    return f"{significant(time_fs / 1000, 3)} ps"


SECRET_MARKS = ("password", "secret", "token", "api_key", "credential")
"""Settings whose name contains one of these are not shown."""


def is_secret(name: str) -> bool:
    """Whether the value of a setting with this name is nobody's business."""
    return any(mark in name.lower() for mark in SECRET_MARKS)


def scalar(value: Any) -> str:
    """One setting as text; an empty section or list as brackets."""
    if isinstance(value, str):
        return value if value and value.isprintable() else json.dumps(value)
    if isinstance(value, Mapping | list | tuple):
        return "{}" if isinstance(value, Mapping) else "[]"
    return json.dumps(value)
