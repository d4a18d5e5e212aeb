"""Checks of a campaign file against physics and against itself, across its sections.

They look at the content of the file by the names of its keys, so that they also serve plug-ins
of third parties, and beside a section that has other problems. A plug-in adds its own by optional
methods of its settings class: `problems(elements)` returns findings whose paths are relative to its
section, `model_problems(model)` of a trainer those about the settings of the model;
`check_elements(numbers)` raises a `SettingsError`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from alflow.config import units
from alflow.config.audit import audit_findings
from alflow.config.chemistry import element_findings, known_elements, parity_findings
from alflow.config.layout import plugin_sections, plugin_settings
from alflow.config.levels import level_findings
from alflow.config.molecules import file_findings, molecule_findings
from alflow.config.promotion import model_problems, promote_findings
from alflow.config.validation import validate_findings
from alflow.core.elements import atomic_number
from alflow.core.errors import SettingsError
from alflow.core.findings import Finding
from alflow.md.timestep import largest_timestep_fs

LARGEST_TIMESTEP_FS = 5.0
"""Longest timestep [fs] that any system is let through with."""

Path = tuple[str | int, ...]


def find_problems(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Everything that is wrong between sections, or with the size of a quantity.

    Args:
        data: Content of a campaign file, or resolved settings.
    """
    findings = list(_own_checks(data))
    told = {(finding.path, finding.code) for finding in findings}
    yield from findings
    # A plug-in may also know the rule for its timestep, say, that holds for all of its kind.
    yield from (f for f in _from_plugins(data) if (f.path, f.code) not in told)


def _own_checks(data: Mapping[str, Any]) -> Iterator[Finding]:
    yield from units.unit_findings(data)
    yield from _timestep(data)
    yield from _members(data)
    yield from _trainer(data)
    yield from _pretrained(data)
    yield from _stop_rules(data)
    yield from level_findings(data)
    yield from promote_findings(data)
    yield from audit_findings(data)
    yield from validate_findings(data)
    yield from element_findings(data)
    yield from parity_findings(data)
    yield from molecule_findings(data)
    yield from file_findings(data)


def section(data: object, *path: str) -> Mapping[str, Any]:
    """The mapping at a path; an empty one if there is none."""
    for step in path:
        data = data.get(step) if isinstance(data, Mapping) else None
    return data if isinstance(data, Mapping) else {}


def _samplers(data: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Path and content of the section `sample`, and of each sampler inside it."""
    for path, mark, raw in plugin_sections(data):
        if mark.point == "samplers":
            yield path, section(raw)


def _timestep(data: Mapping[str, Any]) -> Iterator[Finding]:
    numbers = [atomic_number(symbol) for symbol in known_elements(data)]
    if not numbers:
        return
    limit = min(largest_timestep_fs(min(numbers)), LARGEST_TIMESTEP_FS)
    for path, sample in _samplers(data):
        timestep = units.number(sample.get("timestep_fs"))
        is_meant = sample.get("allow_large_timestep") is True
        if timestep is not None and timestep > limit and not is_meant:
            what = "with hydrogen present" if min(numbers) == 1 else "with these elements"
            yield Finding(
                (*path, "timestep_fs"),
                f"is {timestep:g} fs; {what} at most {limit:.1f} fs is stable",
                "to override: allow_large_timestep: true",
                "AL121",
            )


def _members(data: Mapping[str, Any]) -> Iterator[Finding]:
    members = units.number(section(data, "model").get("members"))
    if members is not None and members < 2:  # noqa: PLR2004
        message = f"is {members:g}; the spread over members is the uncertainty: at least 2"
        yield Finding(("model", "members"), message, "8 is usual", "AL121")


def _trainer(data: Mapping[str, Any]) -> Iterator[Finding]:
    """What the trainer has to say about the model."""
    model, train = (plugin_settings(data, (name,)) for name in ("model", "train"))
    for found in model_problems(train, model):
        yield Finding(("train", *found.path), found.message, found.hint, found.code)


def _stop_rules(data: Mapping[str, Any]) -> Iterator[Finding]:
    rules = section(data, "stop", "converged")
    here: Path = ("stop", "converged")
    if rules.get("force_rmse_eV_per_A") is not None and not data.get("test"):
        yield Finding(
            (*here, "force_rmse_eV_per_A"),
            "is measured on the test set, and the campaign has none",
            "add a section 'test:' with count and builders",
        )
    survival = units.number(rules.get("survival_ps"))
    durations = [units.number(raw.get("duration_ps")) for _, raw in _samplers(data)]
    duration = max((one for one in durations if one is not None), default=None)
    if survival is not None and duration is not None and survival > duration:
        message = f"is {survival:g} ps, but no trajectory is longer than {duration:g} ps"
        hint = f"at most duration_ps of the sampler, {duration:g}"
        yield Finding((*here, "survival_ps"), message, hint, "AL121")
    if survival is not None and not _has_clock(data):
        message = "cannot be reached: no time passes in trajectories of this sampler"
        yield Finding((*here, "survival_ps"), message, "use force_rmse_eV_per_A", "AL121")


def _pretrained(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Weights to begin from that no training would begin from."""
    is_named = section(data, "model").get("pretrained") is not None
    if is_named and section(data, "train").get("warm_start") is False:
        message = "false would leave the weights of model.pretrained unused"
        yield Finding(("train", "warm_start"), message, "leave one of them out", "AL121")


def _has_clock(data: Mapping[str, Any]) -> bool:
    """Whether time passes in any sampler, or none is known."""
    found = [
        mark.settings_class(raw)
        for _, mark, raw in plugin_sections(data)
        if mark.point == "samplers"
    ]
    known = [one for one in found if one is not None]
    return not known or any("duration_ps" in one.model_fields for one in known)


def _from_plugins(data: Mapping[str, Any]) -> Iterator[Finding]:
    elements = known_elements(data)
    for path, mark, raw in plugin_sections(data):
        model = mark.settings_class(raw)
        if model is None or not elements:
            continue
        try:
            settings = mark.resolve(raw)
        except (ValidationError, ValueError):
            continue
        yield from _own_findings(settings, path, elements)


def _own_findings(
    settings: BaseModel, path: Path, elements: Iterable[str]
) -> Iterator[Finding]:
    """What a plug-in has to say about its own settings."""
    problems = getattr(settings, "problems", None)
    if callable(problems):
        for found in problems(tuple(elements)):
            yield Finding((*path, *found.path), found.message, found.hint, found.code)
    check = getattr(settings, "check_elements", None)
    if callable(check):
        try:
            check([atomic_number(symbol) for symbol in elements])
        except SettingsError as error:
            head, colon, rest = error.message.partition(": ")
            name = head.rpartition(".")[2]
            is_field = colon and name in type(settings).model_fields
            place, message = ((*path, name), rest) if is_field else (path, error.message)
            yield Finding(place, message, error.next_step, error.code)
