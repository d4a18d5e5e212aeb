"""Whether the section `validate` makes sense."""

from collections.abc import Iterator, Mapping
from typing import Any

from alflow.config.problems import did_you_mean
from alflow.core.errors import closest
from alflow.core.findings import Finding


def validate_findings(data: Mapping[str, Any]) -> Iterator[Finding]:
    """What is wrong with `validate`, taken together with the rest of the file."""
    validate, label = data.get("validate"), data.get("label")
    if not isinstance(validate, Mapping) or not isinstance(label, Mapping):
        return
    name, levels = validate.get("reference"), label.get("levels")
    if isinstance(name, str) and isinstance(levels, Mapping) and name not in levels:
        known = f"levels: {', '.join(map(str, levels)) or 'none'}"
        hint = did_you_mean(closest(name, map(str, levels)), known)
        yield Finding(("validate", "reference"), f"no level {name!r} is defined", hint)
    if validate.get("every") is not None and not validate.get("suites"):
        message = "is set, but there are no suites to run"
        yield Finding(("validate", "every"), message, "name some under validate.suites")
