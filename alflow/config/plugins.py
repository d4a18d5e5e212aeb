"""How a section of the campaign file becomes the settings of the plug-in that it names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from alflow import registry
from alflow.core.errors import PluginError, SettingsError

SINGULAR = {
    "builders": "builder",
    "models": "model",
    "trainers": "trainer",
    "samplers": "sampler",
    "acquisition": "acquisition rule",
    "labelers": "labeler",
}
"""What one plug-in of each kind is called."""


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
        if not isinstance(kind, str) or kind not in registry.available(self.point):
            return None
        try:
            found = registry.find(self.point, kind)
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
            names = ", ".join(registry.available(self.point))
            raise PydanticCustomError("plugin_missing", "{known}", {"known": names})
        if not isinstance(kind, str) or kind not in registry.available(self.point):
            context = {"point": self.point, "kind": str(kind)}
            raise PydanticCustomError("plugin_unknown", "no plug-in {kind}", context)
        try:
            settings = registry.find(self.point, kind)
        except PluginError as error:
            context = {"reason": error.message}
            raise PydanticCustomError("plugin_broken", "{reason}", context) from error
        try:
            return settings.model_validate({**content, "kind": kind})
        except SettingsError as error:
            context = {"reason": error.message}
            raise PydanticCustomError("plugin_settings", "{reason}", context) from error

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
