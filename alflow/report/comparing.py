"""Two generations side by side: numbers, their change, settings, and what cannot be compared."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from alflow.config.resolution import settings_differences
from alflow.report.quantities import is_secret
from alflow.store.metrics import Account

MILLI = 1000.0
CAVEAT = (
    "errors of members are on hold-outs from the snapshot of each generation, and spread is judged "
    "on the new labels of each iteration: other data, not only other models"
)
"""Said where two different generations are compared."""

_FREE_OF_LEVEL = ("data", "sampling", "cost")
"""Groups of numbers that mean the same at any level of theory."""


@dataclass(frozen=True, slots=True)
class Number:
    """One number of both.

    Attributes:
        group: What it is about: data, test, best member, spread, sampling, cost or property.
        name: Its name.
        unit: Its unit, or empty.
        first: Of the first generation; None where there is none.
        second: Of the second one.
        is_comparable: Whether a difference of the two means anything.
    """

    group: str
    name: str
    unit: str
    first: float | None
    second: float | None
    is_comparable: bool = True

    @property
    def change(self) -> float | None:
        """The second minus the first; None where that means nothing."""
        if not self.is_comparable or self.first is None or self.second is None:
            return None
        return self.second - self.first

    @property
    def percent(self) -> float | None:
        """The change in per cent of the first."""
        return 100 * self.change / abs(self.first) if self.change and self.first else None


@dataclass(frozen=True, slots=True)
class SettingChange:
    """A setting that differs: its dotted path, and its values; None where there is none."""

    path: str
    first: Any
    second: Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two generations side by side.

    Attributes:
        first: The first one.
        second: The second one.
        numbers: Their numbers, by group.
        settings: Settings that differ.
        obstacles: Why some of the numbers cannot be compared, sentences.
    """

    first: Account
    second: Account
    numbers: tuple[Number, ...]
    settings: tuple[SettingChange, ...]
    obstacles: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict."""
        return {
            "first": _who(self.first),
            "second": _who(self.second),
            "comparable": not self.obstacles,
            "obstacles": list(self.obstacles),
            "note": CAVEAT,
            "numbers": [
                {**asdict(one), "change": one.change, "percent": one.percent}
                for one in self.numbers
            ],
            "settings": [asdict(one) for one in self.settings],
        }


def compare(first: Account, second: Account) -> Comparison:
    """Put two generations side by side."""
    same_level = first.level_digest == second.level_digest
    same_test = same_level and first.test_digest == second.test_digest is not None

    def may_be(group: str) -> bool:
        return same_test if group == "test" else same_level or group in _FREE_OF_LEVEL

    numbers = tuple(
        Number(*key, values[0], values[1], may_be(key[0]))
        for key, values in _side_by_side(first, second).items()
    )
    return Comparison(
        first,
        second,
        numbers,
        tuple(_settings(first.settings, second.settings)),
        tuple(_obstacles(first, second, same_level=same_level)),
    )


def _obstacles(first: Account, second: Account, *, same_level: bool) -> Iterator[str]:
    if not same_level:
        yield (
            f"different levels of theory ({first.level} and {second.level}): errors and properties "
            "have different truths"
        )
    if first.test_digest is None or second.test_digest is None:
        without = [_name(one) for one in (first, second) if one.test_digest is None]
        yield f"no test error of {' and '.join(without)}: there was no test set"
    elif same_level and first.test_digest != second.test_digest:
        yield (
            f"different test sets ({first.n_test} and {second.n_test} labels, digests "
            f"{first.test_digest[:12]} and {second.test_digest[:12]}): test errors cannot be "
            "compared"
        )


def _name(one: Account) -> str:
    return f"{one.database}:g{one.generation}"


def _who(one: Account) -> dict[str, Any]:
    keys = ("database", "campaign", "generation", "iteration", "state", "level")
    found = {key: getattr(one, key) for key in keys}
    return {**found, "n_test": one.n_test, "test_digest": one.test_digest}


_Key = tuple[str, str, str]


def _side_by_side(
    first: Account, second: Account
) -> dict[_Key, tuple[float | None, float | None]]:
    """Numbers of both by group, name and unit; those of the first lead."""
    ours, theirs = dict(_numbers(first)), dict(_numbers(second))
    keys = [*ours, *(key for key in theirs if key not in ours)]
    order = {group: k for k, group in enumerate(dict.fromkeys(key[0] for key in keys))}
    keys.sort(key=lambda key: order[key[0]])
    return {key: (ours.get(key), theirs.get(key)) for key in keys}


def _numbers(one: Account) -> Iterator[tuple[_Key, float | None]]:
    own = {
        (row.split, row.name): row.value
        for row in one.metrics
        if row.generation == one.generation and row.member is None
    }
    stats = {
        row.name: row.value
        for row in one.metrics
        if row.generation is None and row.iteration == one.iteration
    }
    so_far = _summed(one)
    yield ("data", "labels trained on", ""), own.get(("", "n_train"))
    yield ("data", "labels so far", ""), so_far["labels_ok"]
    yield ("data", "labels failed so far", ""), so_far["labels_failed"]
    yield ("test", "force RMSE", "meV/Å"), _milli(one.force_rmse)
    yield ("test", "energy RMSE", "meV/atom"), _milli(one.energy_rmse)
    yield from _best_members(one)
    for name in ("force", "energy"):
        yield (
            ("spread", f"error per spread, {name}", ""),
            stats.get(f"error_per_spread_{name}"),
        )
        yield (
            ("spread", f"errors below their bound, {name}", "%"),
            _percent(stats.get(f"coverage_{name}")),
        )
    yield ("sampling", "trajectories flagged", "%"), _share(stats)
    yield ("sampling", "simulated so far", "ps"), so_far["simulated_ps"]
    yield from _costs(so_far)
    for (split, name), value in own.items():
        if split == "property":
            what, _, unit = name.removesuffix("]").rpartition(" [")
            yield ("property", what, "" if unit == "1" else unit), value


def _summed(one: Account) -> dict[str, float]:
    """Numbers of all iterations up to this one, added up."""
    found: dict[str, float] = defaultdict(float)
    for row in one.metrics:
        if row.generation is None and row.value is not None:
            found[row.name] += row.value
    return found


def _costs(so_far: Mapping[str, float]) -> Iterator[tuple[_Key, float | None]]:
    hours = {
        name.removesuffix("_core_h"): value
        for name, value in so_far.items()
        if name.endswith("_core_h")
    }
    for kind, value in sorted(hours.items()):
        yield ("cost", f"{kind}, so far", "core-h"), value
    yield ("cost", "all, so far", "core-h"), sum(hours.values(), 0.0)


def _best_members(one: Account) -> Iterator[tuple[_Key, float | None]]:
    """The smallest error of each kind over members."""
    by_name: dict[str, list[float]] = defaultdict(list)
    for row in one.metrics:
        if row.member is not None and row.value is not None and "rmse" in row.name:
            by_name[row.name].append(row.value)
    for name, values in sorted(by_name.items()):
        what, unit, factor = _unit_of(name)
        yield ("best member", what, unit), factor * min(values)


def _unit_of(name: str) -> tuple[str, str, float]:
    """An error as words, its unit, and by what to multiply it."""
    for suffix, unit in (("_eV_per_atom", "meV/atom"), ("_eV_per_A", "meV/Å")):
        if name.endswith(suffix):
            words = name.removesuffix(suffix).replace("_", " ").replace("rmse", "RMSE")
            return words, unit, MILLI
    return name.replace("_", " "), "", 1.0


def _share(stats: Mapping[str, float | None]) -> float | None:
    flagged, n = stats.get("n_flagged"), stats.get("n_trajectories")
    return None if flagged is None or not n else 100 * flagged / n


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _milli(value: float | None) -> float | None:
    return None if value is None else MILLI * value


def _settings(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> Iterator[SettingChange]:
    for path, before, after in settings_differences(first, second):
        is_hidden = is_secret(path)
        values: Sequence[Any] = ("(not shown)",) * 2 if is_hidden else (before, after)
        yield SettingChange(path, *values)
