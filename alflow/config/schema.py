"""JSON schema of the campaign file with every installed plug-in, for editors."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from alflow import registry
from alflow.config.campaign import CampaignSettings
from alflow.config.plugins import SINGULAR
from alflow.core.errors import PluginError

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema (JSON-like); plug-in sections are unions that `kind` discriminates.

    A plug-in that cannot be imported is left out.
    """
    classes = {
        (point, name): found
        for point in SINGULAR
        for name in registry.available(point)
        if (found := _settings_class(point, name)) is not None
    }
    models: list[type[BaseModel]] = [CampaignSettings, *classes.values()]
    references, top = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)],
        ref_template="#/$defs/{model}",
    )
    definitions = top["$defs"]
    branches: dict[str, dict[str, str]] = {}
    for (point, name), model in classes.items():
        branches.setdefault(point, {})[name] = references[model, "validation"]["$ref"]
    for point, mapping in branches.items():
        definitions[point] = {
            "oneOf": [_branch(name, reference) for name, reference in mapping.items()],
            "discriminator": {"propertyName": "kind", "mapping": mapping},
        }
    campaign = definitions.pop(
        references[CampaignSettings, "validation"]["$ref"].split("/")[-1]
    )
    schema: dict[str, Any] = _linked(
        {"$schema": DIALECT, **campaign, "$defs": definitions}, branches
    )
    return schema


def _settings_class(point: str, name: str) -> type[BaseModel] | None:
    try:
        found = registry.find(point, name)
    except PluginError:
        return None
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _branch(name: str, reference: str) -> dict[str, Any]:
    return {
        "$ref": reference,
        "required": ["kind"],
        "properties": {"kind": {"const": name}},
    }


def _linked(node: Any, branches: Mapping[str, Mapping[str, str]]) -> Any:
    """Replace the marks of plug-in sections by references to the unions."""
    if isinstance(node, list):
        return [_linked(item, branches) for item in node]
    if not isinstance(node, dict):
        return node
    point = node.get("x-alflow-plugin")
    if point is None:
        return {key: _linked(value, branches) for key, value in node.items()}
    rest = {key: value for key, value in node.items() if not key.startswith("x-alflow")}
    rest.pop("default", None)
    reference = {"$ref": f"#/$defs/{point}"}
    default = node.get("x-alflow-default")
    if default is None:
        return {**rest, **reference}
    without_kind = (
        [{"$ref": branches[point][default]}] if default in branches[point] else []
    )
    return {**rest, "anyOf": [reference, *without_kind, {"type": "null"}]}
