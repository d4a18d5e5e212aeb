"""Which settings class stands behind a place in a campaign file."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from alflow.config.campaign import CampaignSettings, section_in
from alflow.config.document import ABSENT, Step, child
from alflow.registry import PluginSection


def settings_class_at(data: object, path: Sequence[Step]) -> type[BaseModel] | None:
    """The settings class of the mapping at a path, or None if it is free-form or unknown.

    Args:
        data: Content of the file; the `kind` of each section decides about its class.
        path: Keys and list indices from the top.
    """
    return _settings_class(*_declaration(data, path))


def type_at(data: object, path: Sequence[Step]) -> Any:
    """The declared type of the value at a path, `| None` taken off; None if it is unknown."""
    annotation, _, _ = _declaration(data, path)
    return _annotated(annotation)[0]


def _declaration(
    data: object, path: Sequence[Step]
) -> tuple[Any, Sequence[object], object]:
    """Type, marks and content of the place that a path leads to."""
    annotation: Any = CampaignSettings
    metadata: Sequence[object] = ()
    for step in path:
        annotation, metadata = _child(annotation, metadata, data, step)
        data = child(data, step)
    return annotation, metadata, data


def plugin_sections(data: object) -> Iterator[tuple[tuple[Step, ...], PluginSection, Any]]:
    """Every place of a campaign file where a plug-in's settings stand.

    Yields:
        Path, mark of the field, and raw content; None where the file has no such section.
    """
    yield from _sections_below(CampaignSettings, (), data, ())


def plugin_settings(data: object, path: tuple[Step, ...]) -> BaseModel | None:
    """Settings of the plug-in whose section is at a path; None if there is none, or it is wrong."""
    for place, mark, raw in plugin_sections(data):
        if place == path:
            with contextlib.suppress(ValueError):
                found: BaseModel = mark.resolve(raw)
                return found
    return None


def _sections_below(
    annotation: Any, metadata: Sequence[object], data: object, path: tuple[Step, ...]
) -> Iterator[tuple[tuple[Step, ...], PluginSection, Any]]:
    mark = section_in([*metadata, *_annotated(annotation)[1]])
    if mark is not None:
        yield path, mark, None if data is ABSENT else data
    steps: Sequence[Step] = ()
    model = _settings_class(annotation, metadata, data)
    if model is not None:
        raw = data if isinstance(data, Mapping) else {}
        fields = model.model_fields
        steps = [
            name for name in fields if name in raw or section_in(fields[name].metadata)
        ]
    elif isinstance(data, Mapping):
        steps = list(data)
    elif isinstance(data, list):
        steps = range(len(data))
    for step in steps:
        inner, marks = _child(annotation, metadata, data, step)
        if inner is not None:
            yield from _sections_below(inner, marks, child(data, step), (*path, step))


def _settings_class(
    annotation: Any, metadata: Sequence[object], data: object
) -> type[BaseModel] | None:
    bare, marks = _annotated(annotation)
    mark = section_in([*metadata, *marks])
    if mark is not None:
        return mark.settings_class(data)
    return bare if isinstance(bare, type) and issubclass(bare, BaseModel) else None


def _child(
    annotation: Any, metadata: Sequence[object], data: object, step: Step
) -> tuple[Any, Sequence[object]]:
    model = _settings_class(annotation, metadata, data)
    if model is not None:
        field = model.model_fields.get(str(step))
        return (None, ()) if field is None else (field.annotation, field.metadata)
    bare, _ = _annotated(annotation)
    arguments = get_args(bare)
    origin = get_origin(bare)
    if origin is dict and isinstance(step, str):
        return arguments[1], ()
    if origin in (tuple, list) and isinstance(step, int):
        return arguments[0], ()
    return None, ()


def _annotated(annotation: Any) -> tuple[Any, Sequence[object]]:
    """The bare type and its marks, `| None` taken off."""
    marks: list[object] = []
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *more = get_args(annotation)
            marks += more
        elif origin in (Union, UnionType):
            choices = [
                choice for choice in get_args(annotation) if choice is not type(None)
            ]
            if len(choices) != 1:
                return None, marks
            annotation = choices[0]
        else:
            return annotation, marks
