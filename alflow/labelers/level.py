"""Identity of a level of theory: what must be equal for two labels to be comparable."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from alflow.core.canonical import digest_of
from alflow.registry import Settings


@runtime_checkable
class HasLevel(Protocol):
    """Settings of a labeler that know which of them change the numbers."""

    def level_identity(self) -> dict[str, Any]:
        """Everything that changes an energy or a force, resolved (JSON-like)."""
        ...


def level_identity(settings: Settings) -> dict[str, Any]:
    """What makes the labels of these settings comparable (JSON-like).

    Two settings that differ only in spelling, or in things that change no number (memory,
    limits of quality checks), have the same identity. The version of the program is no part of
    it: it is recorded on each label.

    Args:
        settings: Settings of a labeler; if they have no `level_identity()`, all of them count.
    """
    if isinstance(settings, HasLevel):
        return settings.level_identity()
    return settings.model_dump(mode="json")


def level_digest(settings: Settings) -> str:
    """SHA-256 of the level's identity, 64 hexadecimal digits."""
    return digest_of(level_identity(settings))


@runtime_checkable
class Tightens(Protocol):
    """Settings of a labeler that know how to compute the same more carefully."""

    def tightened(self) -> Settings:
        """The same level with less numerical noise, from another start where there is one."""
        ...


def tightened(settings: Settings, changes: Mapping[str, Any] | None = None) -> Settings:
    """Settings to compute labels again with, by which they are audited.

    Args:
        settings: Settings of a labeler; if they have no `tightened()`, the same calculation is
            repeated.
        changes: Settings that replace those, mappings inside of mappings included.

    Raises:
        pydantic.ValidationError: If the labeler refuses the changes.
    """
    tight = settings.tightened() if isinstance(settings, Tightens) else settings
    if not changes:
        return tight
    return type(tight).model_validate(merged(tight.model_dump(mode="json"), changes))


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Raw settings with others in their place, mappings inside of mappings included."""
    both = dict(old)
    for name, value in new.items():
        is_nested = isinstance(value, Mapping) and isinstance(old.get(name), Mapping)
        both[name] = merged(old[name], value) if is_nested else value
    return both


def has_forces(settings: Settings) -> bool | None:
    """Whether labels of this level have forces; None if its settings do not say."""
    found: bool | None = getattr(settings, "has_forces", None)
    return found
