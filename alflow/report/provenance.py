"""What made the numbers of a report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One setting that was changed while the campaign went on.

    Attributes:
        when: When [s].
        iteration: The last iteration that had begun, None before the first.
        name: Its path in the settings.
        before: What it was, None if it was not there.
        after: What it is since.
    """

    when: float
    iteration: int | None
    name: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made the numbers.

    Attributes:
        settings: Resolved settings of the campaign (JSON-like).
        settings_sha: Their checksum.
        environments: Versions of packages that workers and manager ran with.
        store_uuid: Identity of the store.
        changes: Settings that changed on the way, oldest first.
        managers: Who began to run the campaign, and when [s]; the first began it, others
            resumed it.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    settings_sha: str = ""
    environments: tuple[Mapping[str, Any], ...] = ()
    store_uuid: str = ""
    changes: tuple[SettingChange, ...] = ()
    managers: tuple[tuple[float, str], ...] = ()
