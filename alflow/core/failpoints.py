"""Points at which a process can be made to kill itself: before and after everything that commits.

    ALFLOW_FAILPOINT=store.commit-items.before:2 alflow run campaign.yaml

ends the first process that reaches that point for the second time, by SIGKILL, as a power failure
or an out-of-memory killer would: nothing is flushed, no handler runs. `alflow chaos` and the tests
do so at every point of `NAMES` and look at what is left. While nothing is asked for, a point costs
one comparison.

    store.<transaction>.before    everything is written, the commit is not
    store.<transaction>.inside    some of it is written
    store.<transaction>.after     the commit is done, its caller does not know
    file.<kind>.before            the content is on disk under a temporary name
    file.<kind>.after             it has its name
    manager.submitted             an executor has been given an attempt
"""

import os
import signal
from collections.abc import Callable

from alflow.core.errors import SettingsError, closest

VARIABLE = "ALFLOW_FAILPOINT"
"""Environment variable `NAME[:N]`: die at the N-th time that a process gets there."""

_TRANSACTIONS = (
    "create-campaign",
    "record-directory",
    "record-workers",
    "lease-take",
    "lease-renew",
    "lease-release",
    "register-level",
    "update-config",
    "set-state",
    "request-stop",
    "clear-stop",
    "request-retry",
    "take-up-retries",
    "event",
    "begin-iteration",
    "add-structures",
    "import-labelled",
    "set-quality",
    "supersede-label",
    "publish",
    "start-attempt",
    "commit-items",
    "finish-task",
    "requeue",
    "fail-task",
    "release-task",
    "record-selection",
    "begin-generation",
    "finish-training",
    "add-predictions",
    "add-properties",
    "reconsider-generation",
    "end-iteration",
)
_HALFWAY = (
    "publish",
    "commit-items",
    "record-selection",
    "begin-generation",
    "finish-training",
    "reconsider-generation",
    "take-up-retries",
)
_FILES = (
    *("database", "weights", "blob", "spec", "claim", "item", "output", "checkpoint"),
    "result",
)

NAMES: tuple[str, ...] = (
    *(f"store.{name}.{side}" for name in _TRANSACTIONS for side in ("before", "after")),
    *(f"store.{name}.inside" for name in _HALFWAY),
    *(f"file.{name}.{side}" for name in _FILES for side in ("before", "after")),
    "manager.submitted",
)
"""All points."""

Hook = Callable[[str], None]
"""What is called with the name of each point that is reached."""


class _Switch:
    """What happens at a point; None while nothing is asked for."""

    hook: Hook | None = None


class _Countdown:
    """Kills this process the n-th time that it comes by a point."""

    def __init__(self, name: str, n: int) -> None:
        self._name = name
        self._left = n

    def __call__(self, name: str) -> None:
        self._left -= name == self._name
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def failpoint(name: str) -> None:
    """Mark a point; its name is one of `NAMES`."""
    if _Switch.hook is not None:
        _Switch.hook(name)


def install(hook: Hook | None) -> None:
    """Call `hook` at every point of this process from now on; None for nothing."""
    _Switch.hook = hook


def arm(text: str) -> None:
    """Ask this process and those forked from it to die, as `VARIABLE` does.

    Raises:
        SettingsError: If `text` is not `NAME[:N]` with a known name.
    """
    name, _, count = text.partition(":")
    if name not in NAMES:
        hint = closest(name, NAMES)
        raise SettingsError(
            f"{VARIABLE}: there is no failpoint {name!r}"
            + (f"; did you mean {hint!r}?" if hint else "")
        )
    if count and not (count.isdecimal() and int(count) > 0):
        raise SettingsError(f"{VARIABLE}: {count!r} is not a number of 1 or more")
    install(_Countdown(name, int(count or 1)))


if _wanted := os.environ.get(VARIABLE):
    arm(_wanted)
