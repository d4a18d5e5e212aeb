"""Finds plug-ins by kind of plug-in and name, through entry points; base of their settings."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

from alflow.core.errors import PluginError, closest

POINTS = (
    "builders",
    "models",
    "trainers",
    "samplers",
    "ase_samplers",
    "acquisition",
    "labelers",
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
