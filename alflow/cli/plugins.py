"""`alflow plugins`: what is installed, and the settings of each."""

import ast
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel, JsonValue, WithJsonSchema
from pydantic.fields import FieldInfo

from alflow import registry
from alflow.cli import themes
from alflow.cli.terminal import (
    CsvFlag,
    JsonFlag,
    Listing,
    chosen_format,
    emit_listing,
    talk,
)
from alflow.config.campaign import section_in
from alflow.config.plugins import SINGULAR
from alflow.core.errors import PluginError

_OR_NULL = " | null"
_TYPES: dict[Any, str] = {
    int: "integer",
    float: "number",
    str: "text",
    bool: "true/false",
    NoneType: "null",
    Path: "path",
    Any: "anything",
    JsonValue: "anything",
}
_JSON_TYPES = {
    "integer": "integer",
    "number": "number",
    "string": "text",
    "boolean": "true/false",
    "null": "null",
}
_BOUNDS = (
    ("ge", "≥"),
    ("gt", ">"),
    ("le", "≤"),
    ("lt", "<"),
    ("min_length", "length ≥"),
    ("max_length", "length ≤"),
)


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.HELP)(plugins)


def plugins(
    point: Annotated[
        str | None, typer.Argument(metavar="[KIND]", help="Kind, for example samplers.")
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Plug-in, for example nemd.")
    ] = None,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """List installed plug-ins, or the settings of one."""
    how = chosen_format(as_json=as_json, as_csv=as_csv)
    if point is None:
        emit_listing(_installed(registry.POINTS), how)
        return
    kind = _point(point)
    if name is None:
        emit_listing(_installed((kind,)), how)
        return
    found = registry.find(kind, name)
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        raise PluginError(f"{name!r} of kind {kind} has no settings")
    talk((found.__doc__ or "").partition("\n\n")[0])
    rows = list(settings_rows(found))
    emit_listing(Listing(("setting", "type", "default", "meaning"), rows), how)


def _point(word: str) -> str:
    """The kind of plug-in that a word means; the singular counts too."""
    by_singular = {singular: point for point, singular in SINGULAR.items()}
    point = by_singular.get(word, word)
    registry.available(point)
    return point


def _installed(points: tuple[str, ...]) -> Listing:
    rows = []
    for point in points:
        for name, entry in registry.available(point).items():
            origin = f"{entry.dist.name} {entry.dist.version}" if entry.dist else None
            rows.append((point, name, _summary(point, name), origin))
    return Listing(("kind", "name", "what it does", "from"), rows)


def _summary(point: str, name: str) -> str | None:
    """First line of documentation; what cannot be imported says so."""
    if point == "tasks":  # their modules import torch and pyscf; a listing must not
        return _first_line(registry.available(point)[name].module)
    try:
        found = registry.find(point, name)
    except PluginError as error:
        return f"broken: {error.message}"
    return (found.__doc__ or "").partition("\n")[0] or None


def _first_line(module: str) -> str | None:
    """First line of the documentation of a module, which is read but not run."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    return (text or "").partition("\n")[0] or None


def settings_rows(
    model: type[BaseModel], prefix: str = ""
) -> Iterator[tuple[str, str, str, str]]:
    """Path, type, default and meaning of every setting, nested ones after their parent."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        meaning = " ".join((field.description or "").split())
        yield path, type_text(field.annotation, field.metadata), _default(field), meaning
        inner = None if _as_written(field.metadata) else _nested(field.annotation)
        if inner is not None:
            yield from settings_rows(inner, f"{path}.")


def type_text(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    """A type in the words of the campaign file, with its bounds."""
    section = section_in(metadata)
    if section is not None:
        one = SINGULAR[section.point]
        return f"settings of {'an' if one[0] in 'aeiou' else 'a'} {one}"
    text = _as_written(metadata) or _bare_text(annotation)
    bounds = ", ".join(_bounds(metadata))
    if not bounds:
        return text
    bounded = f"{text.removesuffix(_OR_NULL)} {bounds}"
    return bounded + _OR_NULL if text.endswith(_OR_NULL) else bounded


def _as_written(metadata: Iterable[Any]) -> str:
    """The type in a file where validation turns it into another one; else empty."""
    mark = next((mark for mark in metadata if isinstance(mark, WithJsonSchema)), None)
    if mark is None or mark.json_schema is None:
        return ""
    arms = mark.json_schema.get("anyOf", [mark.json_schema])
    return " | ".join(_JSON_TYPES.get(arm.get("type"), "anything") for arm in arms)


def _bounds(metadata: Iterable[Any]) -> Iterator[str]:
    for mark in metadata:
        if isinstance(mark, FieldInfo):
            yield from _bounds(mark.metadata)
            continue
        for key, sign in _BOUNDS:
            if getattr(mark, key, None) is not None:
                yield f"{sign} {getattr(mark, key)}"


def _bare_text(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(arguments[0], arguments[1:])
    if origin is not None:
        return _composed_text(origin, arguments)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return _TYPES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _composed_text(origin: Any, arguments: tuple[Any, ...]) -> str:
    if origin is Literal:
        return " | ".join(_brief(argument) for argument in arguments)
    if origin in (Union, UnionType):
        return " | ".join(_bare_text(argument) for argument in arguments)
    if origin is dict:
        return f"{{{_bare_text(arguments[0])}: {_bare_text(arguments[1])}}}"
    return _list_text(arguments)


def _list_text(arguments: tuple[Any, ...]) -> str:
    if len(arguments) == 1 or Ellipsis in arguments:
        return f"[{_bare_text(arguments[0])}, ...]"
    return f"[{', '.join(_bare_text(argument) for argument in arguments)}]"


def _nested(annotation: Any) -> type[BaseModel] | None:
    """The settings class inside an annotation, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_nested(argument) for argument in get_args(annotation))
    return next((found for found in inner if found is not None), None)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    section = section_in(field.metadata)
    if section is not None and section.default is not None:
        return f"{{kind: {section.default}}}"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return _brief(value.model_dump(mode="json", exclude_none=True))
    return _brief(value)


def _brief(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{key}: {_brief(item)}" for key, item in value.items()) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_brief(item) for item in value) + "]"
    return str(value)
