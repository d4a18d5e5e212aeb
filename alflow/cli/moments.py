"""Times and durations as people read them."""

import math
import re
import time
from datetime import UTC, datetime

from alflow.core.errors import SettingsError

_SHORT_S = 10
_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 86400
_UNITS_S = {"s": 1, "m": _MINUTE_S, "h": _HOUR_S, "d": _DAY_S}
_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def utc(seconds: float | None) -> str | None:
    """A moment [s since 1970] as ISO 8601 in UTC; None stays None."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> float:
    """A moment [s since 1970] from its age (90m, 2h, 3d) or from ISO 8601; UTC unless it says.

    Raises:
        SettingsError: If it is neither.
    """
    if match := _AGE.fullmatch(text.strip()):
        return time.time() - float(match[1]) * _UNITS_S[match[2]]
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise SettingsError(
            f"{text!r} is no moment",
            next_step="ages look like 90m, 2h or 3d, moments like 2026-11-21T07:40",
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def lasting(seconds: float) -> str:
    """A time [s] in its largest sensible unit."""
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    if seconds < 2 * _DAY_S:
        return f"{seconds / _HOUR_S:.0f} h"
    return f"{seconds / _DAY_S:.0f} days"


def ago(seconds: float) -> str:
    """A time that has passed [s], in its largest sensible unit."""
    return f"{lasting(seconds)} ago"


def clock(seconds: float) -> str:
    """A time that was measured [s], as a clock shows it; with a unit where that would be zero."""
    if seconds < _SHORT_S:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    hours, minutes = whole // _HOUR_S, whole // _MINUTE_S % _MINUTE_S
    head = f"{hours}:{minutes:02d}" if hours else str(minutes)
    return f"{head}:{whole % _MINUTE_S:02d}"


def coarse(seconds: float) -> str:
    """A time that is estimated [s]: no more digits than it deserves, and never nothing."""
    if seconds < _MINUTE_S:
        return "<1 min"
    if seconds < 10 * _MINUTE_S:
        return f"~{math.ceil(seconds / _MINUTE_S)} min"
    if seconds < _HOUR_S:
        return f"~{5 * math.ceil(seconds / (5 * _MINUTE_S))} min"
    if seconds < _DAY_S:
        return f"~{round(2 * seconds / _HOUR_S) / 2:g} h"
    return f"~{round(2 * seconds / _DAY_S) / 2:g} days"
