"""Pydantic's errors in plain words, each with the path of the value that it is about."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from alflow import registry
from alflow.config.document import ABSENT, Step, child
from alflow.config.layout import settings_class_at
from alflow.config.plugins import SINGULAR
from alflow.config.problems import did_you_mean
from alflow.core.errors import closest
from alflow.core.findings import Finding

LONGEST_VALUE = 40
"""Longest piece of an offending value that a message repeats."""

_WORDS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of less than 4300 digits",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "mapping_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "plugin_mapping": "a mapping of keys to values",
    "none_required": "null",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "literal_error": "{expected}",
    "enum": "{expected}",
}
_WITH_UNIT = re.compile(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*[A-Za-zµÅ°%/³^]+[\w/³^]*\s*")
_HINTS = {
    "string_type": "put it in quotes",
    "string_pattern_mismatch": "letters, digits, dot, dash and underscore; a letter or digit first",
}


def findings_of(error: ValidationError, data: object) -> list[Finding]:
    """One finding for each place that pydantic complains about.

    Args:
        error: What pydantic raised.
        data: Content of the file that was validated.
    """
    by_place: dict[tuple[Step, ...], list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        place = _place(detail, data)
        by_place.setdefault(place, []).append(detail)
    meant = {_meant(place, data) for place, d in by_place.items() if _is_unknown(d)} - {()}
    return [
        _finding(place, details, data)
        for place, details in by_place.items()
        if not _is_consequence(place, details, by_place)
        # A key that is missing because it is spelt wrong is one mistake.
        and not (
            details[0]["type"] == "missing" and any(place[: len(m)] == m for m in meant)
        )
    ]


def shown(value: object) -> str:
    """A value as it would stand in the file, cut to a sensible length."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    if isinstance(value, str):
        text = f"'{value}'"
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def _is_unknown(details: Sequence[ErrorDetails]) -> bool:
    return details[0]["type"] == "extra_forbidden"


def _meant(place: tuple[Step, ...], data: object) -> tuple[Step, ...]:
    """The known key that a misspelt one stands for; empty if none is close."""
    model = settings_class_at(data, place[:-1])
    match = closest(str(place[-1]), model.model_fields if model is not None else ())
    return () if match is None else (*place[:-1], match)


def _place(detail: ErrorDetails, data: object) -> tuple[Step, ...]:
    """The path in the file; names of union branches, which pydantic adds, are left out."""
    place: list[Step] = []
    node = data
    steps = detail["loc"]
    for position, step in enumerate(steps):
        is_last = position == len(steps) - 1
        below = child(node, step)
        is_missing = is_last and detail["type"] == "missing"
        if below is ABSENT and not is_missing and not _is_field(data, place, step):
            continue
        node = below
        place.append(step)
    return _extended(tuple(place), detail, node)


def _is_consequence(
    place: tuple[Step, ...],
    details: Sequence[ErrorDetails],
    places: Iterable[tuple[Step, ...]],
) -> bool:
    """Whether a list is "too short" only because its entries have problems of their own."""
    is_below = (
        len(other) > len(place) and other[: len(place)] == place for other in places
    )
    return details[0]["type"] == "too_short" and any(is_below)


def _is_field(data: object, place: Sequence[Step], step: Step) -> bool:
    """Whether the settings at `place` have a field of that name, though the file has not."""
    model = settings_class_at(data, place)
    return model is not None and step in model.model_fields


def _extended(
    place: tuple[Step, ...], detail: ErrorDetails, node: object
) -> tuple[Step, ...]:
    """Follow a message such as `start: the range is upside down` to the value it names."""
    if detail["type"].startswith("plugin_un") or detail["type"] == "plugin_broken":
        return (*place, "kind")
    head, colon, _ = detail["msg"].removeprefix("Value error, ").partition(": ")
    if colon and isinstance(node, Mapping) and head in node:
        return (*place, head)
    return place


def _finding(
    place: tuple[Step, ...], details: Sequence[ErrorDetails], data: object
) -> Finding:
    kind = details[0]["type"]
    special = _SPECIAL.get(kind)
    if special is not None:
        return special(place, details[0], data)
    wanted = [_wanted(detail) for detail in details]
    hint = next((_HINTS[d["type"]] for d in details if d["type"] in _HINTS), "")
    hint = hint or _bare_number(details)
    rules = [text for text in dict.fromkeys(wanted) if text]
    if rules:
        value = details[0]["input"]
        actual = "but is empty" if value is None else f"not {shown(value)}"
        return Finding(place, f"must be {' or '.join(rules)}, {actual}", hint)
    return Finding(place, _message(details[0], place), hint)


def _bare_number(details: Sequence[ErrorDetails]) -> str:
    """The hint for a number with its unit behind it."""
    value = details[0]["input"]
    found = _WITH_UNIT.fullmatch(value) if isinstance(value, str) else None
    if found is None or details[0]["type"] not in ("int_parsing", "float_parsing"):
        return ""
    return f"write the number alone, {found[1]}, in the unit that the name ends with"


def _wanted(detail: ErrorDetails) -> str:
    """The rule after "must be", or an empty string if the message is a sentence of its own."""
    words = _WORDS.get(detail["type"], "")
    context = detail.get("ctx", {})
    return words.format(**{key: _number(value) for key, value in context.items()})


def _number(value: object) -> object:
    return f"{value:g}" if isinstance(value, float) else value


def _message(detail: ErrorDetails, place: Sequence[Step]) -> str:
    value = shown(detail["input"])
    context = detail.get("ctx", {})
    length = context.get("min_length", context.get("max_length"))
    rule = "at least" if "min_length" in context else "at most"
    if detail["type"] in ("too_short", "too_long"):
        entries = "entry" if length == 1 else "entries"
        return f"must have {rule} {length} {entries}, not {context['actual_length']}"
    if detail["type"] in ("string_too_short", "string_too_long"):
        return f"{value} must have {rule} {length} characters, not {len(detail['input'])}"
    if detail["type"] == "string_pattern_mismatch":
        return f"{value} has characters that are not allowed here"
    text = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    last = str(place[-1]) if place else ""
    text = text.removeprefix(f"{last}: ").rstrip(".")
    is_word = text[:1].isupper() and text.split(" ")[0].isalpha() and text[1:2].islower()
    return text[:1].lower() + text[1:] if is_word else text


def _unknown_key(place: tuple[Step, ...], _detail: ErrorDetails, data: object) -> Finding:
    key = str(place[-1])
    model = settings_class_at(data, place[:-1])
    known = list(model.model_fields) if model is not None else []
    hint = closest(key, known)
    more = "" if hint or not known else f"known keys: {', '.join(known)}"
    return Finding(place, f"unknown key {key!r}", did_you_mean(hint, more), at_key=True)


def _missing(place: tuple[Step, ...], _detail: ErrorDetails, data: object) -> Finding:
    parent, key = place[:-1], str(place[-1])
    model = settings_class_at(data, parent)
    field = None if model is None else model.model_fields.get(key)
    text = ((field.description if field else None) or "").partition("\n")[0]
    hint = f"{key}: {text}" if text else f"add '{key}:'"
    return Finding(parent, f"the required key {key!r} is missing", hint, at_key=True)


def _unknown_plugin(
    place: tuple[Step, ...], detail: ErrorDetails, _data: object
) -> Finding:
    context = detail["ctx"]
    point, kind = str(context["point"]), str(context["kind"])
    hint = closest(kind, registry.available(point))
    message = f"no {SINGULAR.get(point, 'plug-in')} {kind!r} is installed"
    more = f"Fix this first  (alflow plugins {point} lists all)"
    return Finding(place, message, did_you_mean(hint, more), "AL220")


def _kind_missing(place: tuple[Step, ...], detail: ErrorDetails, _data: object) -> Finding:
    hint = f"one of: {detail['ctx']['known']}"
    return Finding(place, "the required key 'kind' is missing", hint, at_key=True)


def _plugin_broken(place: tuple[Step, ...], detail: ErrorDetails, _data: object) -> Finding:
    return Finding(place, str(detail["ctx"]["reason"]), "Fix this first", "AL220")


def _settings(place: tuple[Step, ...], detail: ErrorDetails, _data: object) -> Finding:
    context = detail["ctx"]
    message = _message(detail, place)
    return Finding(place, message, str(context["hint"]), str(context["code"]))


def _element(place: tuple[Step, ...], detail: ErrorDetails, _data: object) -> Finding:
    reason, _, hint = str(detail["ctx"]["reason"]).partition("; ")
    return Finding(place, reason, hint, "AL120")


_SPECIAL: dict[str, Callable[[tuple[Step, ...], Any, object], Finding]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "plugin_unknown": _unknown_plugin,
    "plugin_missing": _kind_missing,
    "plugin_broken": _plugin_broken,
    "plugin_settings": _settings,
    "element": _element,
}
