"""Finds plug-ins by kind of plug-in and name, through entry points; base of their settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from alflow.core.errors import PluginError, SettingsError, closest

POINTS = (
    "builders",
    "models",
    "trainers",
    "samplers",
    "ase_samplers",
    "acquisition",
    "labelers",
    "validation",
    "tasks",
)
"""Kinds of plug-in; the entry-point group of each is `alflow.<point>`."""


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys refused, attribute docstrings as help.

    A plug-in's settings add `kind: Literal["name"]` and a method `create()` that imports and
    returns the implementation.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
    )


InputFile = Annotated[Path, AfterValidator(Path.absolute)]
"""A file that a task reads. A relative path starts at the folder where alflow is called, and is
made absolute there, because tasks run elsewhere and a campaign may be resumed from anywhere."""


def refused(error: SettingsError, field: str = "") -> PydanticCustomError:
    """What a validator raises so that no part of a message is lost.

    Args:
        error: What was found.
        field: Name of the field that it is about, if it is one.
    """
    reason = f"{field}: {error.message}" if field else error.message
    context = {"reason": reason, "hint": error.next_step, "code": error.code}
    return PydanticCustomError("plugin_settings", "{reason}", context)


@cache
def available(point: str) -> dict[str, EntryPoint]:
    """Installed plug-ins of one kind, by name. Nothing is imported.

    Raises:
        PluginError: If there is no such kind of plug-in.
    """
    if point not in POINTS:
        hint = closest(point, POINTS)
        raise PluginError(
            f"there is no plug-in kind {point!r}"
            + (f"; did you mean {hint!r}?" if hint else ""),
            next_step=f"known kinds: {', '.join(POINTS)}",
        )
    found = sorted(entry_points(group=f"alflow.{point}"), key=lambda entry: entry.name)
    return {entry.name: entry for entry in found}


def find(point: str, name: str) -> Any:
    """Import what the entry point `name` of kind `point` names.

    Raises:
        PluginError: If it is not installed (names the closest), or its import fails (names the
            distribution it came from).
    """
    plugins = available(point)
    if name not in plugins:
        hint = closest(name, plugins)
        raise PluginError(
            f"no plug-in {name!r} among the {point}"
            + (f"; did you mean {hint!r}?" if hint else ""),
            next_step=f"installed: {', '.join(plugins) or 'none'}  (alflow plugins {point})",
        )
    entry = plugins[name]
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        origin = entry.dist.name if entry.dist else "unknown distribution"
        raise PluginError(
            f"plug-in {name!r} of kind {point} ({entry.value}, from {origin}) "
            f"cannot be imported: {error}"
        ) from error


@dataclass(frozen=True)
class PluginSection:
    """Marks a field that holds the settings of a plug-in; `kind` in the file names it.

    Attributes:
        point: Kind of plug-in, as in `alflow.registry.POINTS`.
        default: Name taken where the file has no `kind`; None if `kind` is required.
    """

    point: str
    default: str | None = None

    def settings_class(self, raw: object) -> type[BaseModel] | None:
        """The settings class that a raw section names, or None if it names none."""
        kind = raw.get("kind", self.default) if isinstance(raw, Mapping) else self.default
        if not isinstance(kind, str) or kind not in available(self.point):
            return None
        try:
            found = find(self.point, kind)
        except PluginError:
            return None
        return found if isinstance(found, type) and issubclass(found, BaseModel) else None

    def resolve(self, raw: object) -> Any:
        """Validate a raw section by the settings class that it names.

        Raises:
            PydanticCustomError: If there is no such plug-in or it cannot be imported.
        """
        if isinstance(raw, BaseModel):
            return raw
        content: object = {} if raw is None and self.default else raw
        if not isinstance(content, Mapping):
            raise PydanticCustomError(
                "plugin_mapping", "must be a mapping of keys to values"
            )
        kind = content.get("kind", self.default)
        if kind is None:
            names = ", ".join(available(self.point))
            raise PydanticCustomError("plugin_missing", "{known}", {"known": names})
        if not isinstance(kind, str) or kind not in available(self.point):
            context = {"point": self.point, "kind": str(kind)}
            raise PydanticCustomError("plugin_unknown", "no plug-in {kind}", context)
        try:
            settings = find(self.point, kind)
        except PluginError as error:
            context = {"reason": error.message}
            raise PydanticCustomError("plugin_broken", "{reason}", context) from error
        try:
            return settings.model_validate({**content, "kind": kind})
        except SettingsError as error:
            raise refused(error) from error

    def __get_pydantic_core_schema__(
        self, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validation is `resolve`; serialisation follows the object that is there."""
        return core_schema.no_info_before_validator_function(
            self.resolve, core_schema.any_schema()
        )

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """A mark, which `alflow.config.schema` replaces by the installed plug-ins."""
        return {"x-alflow-plugin": self.point, "x-alflow-default": self.default}
