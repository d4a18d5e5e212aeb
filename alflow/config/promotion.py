"""What a better level of theory is trained with, and whether the section `promote` makes sense."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from alflow.config.campaign import CampaignSettings
from alflow.config.layout import plugin_settings
from alflow.config.problems import did_you_mean
from alflow.config.translation import findings_of
from alflow.core.errors import closest
from alflow.core.findings import Finding
from alflow.registry import PluginSection, Settings

_USUAL = {"frozen_layers": (0, 2), "warm_start": True}
"""What a trainer is told that knows these settings: ANI-1ccx kept the layers 0 and 2."""


def transfer_settings(settings: CampaignSettings) -> Settings:
    """Trainer settings for the better level: those of `train`, with what `promote.train` changes.

    Raises:
        pydantic.ValidationError: If the trainer refuses them; a checked campaign file cannot.
    """
    train: Settings = settings.train
    changes = {} if settings.promote is None else settings.promote.train
    merged = {**train.model_dump(mode="json"), **_usual(type(train)), **changes}
    return type(train).model_validate(merged)


def promote_findings(data: Mapping[str, Any]) -> Iterator[Finding]:
    """What is wrong with `promote`, taken together with the rest of the file."""
    promote = data.get("promote")
    if isinstance(promote, Mapping):
        yield from _level(promote.get("level"), data)
        yield from _train(promote.get("train"), data)


def _usual(trainer: type[BaseModel]) -> dict[str, Any]:
    return {name: value for name, value in _USUAL.items() if name in trainer.model_fields}


def _level(level: object, data: Mapping[str, Any]) -> Iterator[Finding]:
    label = data.get("label")
    levels = label.get("levels") if isinstance(label, Mapping) else None
    if not isinstance(label, Mapping) or not isinstance(levels, Mapping):
        return
    others = [name for name in levels if name != label.get("primary")]
    known = f"other levels: {', '.join(map(str, others)) or 'none'}"
    if isinstance(level, str) and level not in levels:
        hint = did_you_mean(closest(level, others), known)
        yield Finding(("promote", "level"), f"no level {level!r} is defined", hint)
    elif level == label.get("primary"):
        message = f"is {level!r}, the level that the campaign learns anyway"
        yield Finding(("promote", "level"), message, known)


def _train(changes: object, data: Mapping[str, Any]) -> Iterator[Finding]:
    raw = data.get("train")
    train = dict(raw) if isinstance(raw, Mapping) else {}
    changes = dict(changes) if isinstance(changes, Mapping) else {}
    trainer = PluginSection("trainers", "stacked").settings_class(train)
    if trainer is None:
        return
    if changes.get("kind", train.get("kind", "stacked")) != train.get("kind", "stacked"):
        message = "a generation is transferred by the trainer that made its parent"
        yield Finding(("promote", "train", "kind"), message, "leave it out")
        return
    if changes.get("warm_start") is False:
        message = (
            "is false, but a transfer begins with the weights of the generation that serves"
        )
        yield Finding(("promote", "train", "warm_start"), message, "leave it out", "AL121")
        return
    merged = {**train, **_usual(trainer), **changes}
    found = _trainer_findings(merged, changes)
    yield from found
    if not found:
        yield from _for_model(merged, changes, data)


def _trainer_findings(merged: dict[str, Any], changes: Mapping[str, Any]) -> list[Finding]:
    """What the trainer says about the changes; other settings are judged where they stand."""
    here = {"train": merged}
    try:
        CampaignSettings.model_validate(here)
    except ValidationError as error:
        return [
            Finding(("promote", *one.path), one.message, one.hint, one.code)
            for one in findings_of(error, here)
            if one.path[:1] == ("train",) and one.path[1:2] and one.path[1] in changes
        ]
    return []


def model_problems(train: BaseModel | None, model: BaseModel | None) -> Iterator[Finding]:
    """What a trainer has to say about the model; paths are relative to its section."""
    check = getattr(train, "model_problems", None)
    if model is not None and callable(check):
        yield from check(model)


def _for_model(
    merged: dict[str, Any], changes: Mapping[str, Any], data: Mapping[str, Any]
) -> Iterator[Finding]:
    """What comes of the changes, and of the layers that are frozen unasked."""
    merged_trainer = plugin_settings({"train": merged}, ("train",))
    for found in model_problems(merged_trainer, plugin_settings(data, ("model",))):
        name = found.path[0]
        if name in changes:
            yield Finding(("promote", "train", name), found.message, found.hint, found.code)
        elif name in _USUAL:
            message = f"{name} {found.message}"
            hint = f"write promote.train.{name}: {found.hint}"
            yield Finding(("promote",), message, hint, found.code)
