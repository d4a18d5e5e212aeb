"""How users name the things in a campaign: a letter, a number, and for an attempt its own number.

s-12 structure     l-12 label        c-12 candidate    p-12 trajectory (path)
t-8  task          t-8#2 its second attempt
i2   iteration     g3   generation   d3   snapshot (the data of generation 3)
"""

import re
from dataclasses import dataclass

from alflow.core.errors import SettingsError

WORDS = {
    "s": "structure",
    "l": "label",
    "c": "candidate",
    "p": "trajectory",
    "t": "task",
    "g": "generation",
    "i": "iteration",
    "d": "snapshot",
}
"""What the letters stand for."""

_LISTS = {
    "l": "labels",
    "s": "structures",
    "c": "candidates",
    "p": "trajectories",
    "t": "tasks",
    "i": "iterations",
    "g": "generations",
    "d": "generations",
}
"""Where the things of each letter are listed; a snapshot goes with its generation."""

_COUNTED = frozenset("gid")
"""Letters of things that are counted from 0 and named without a dash."""
_NAME = re.compile(r"([slcptgid])-?(\d{1,18})(?:#(\d{1,9}))?")


@dataclass(frozen=True, slots=True)
class ObjectName:
    """The name of one thing in a campaign.

    Attributes:
        letter: One of `WORDS`.
        number: Its number.
        attempt: Number of the attempt, of a task only; None for the task itself.
    """

    letter: str
    number: int
    attempt: int | None = None

    @property
    def word(self) -> str:
        """What kind of thing it is."""
        return WORDS[self.letter] if self.attempt is None else "attempt"

    def __str__(self) -> str:
        """As a user types it."""
        dash = "" if self.letter in _COUNTED else "-"
        attempt = "" if self.attempt is None else f"#{self.attempt}"
        return f"{self.letter}{dash}{self.number}{attempt}"


def unknown(name: ObjectName) -> SettingsError:
    """The error for a name of something that is not there."""
    return SettingsError(
        f"there is no {name.word} {name}",
        next_step=f"those that there are: alflow ls {_LISTS[name.letter]}",
    )


def parse_name(text: str) -> ObjectName:
    """The thing that a name means.

    Raises:
        SettingsError: If it is not such a name.
    """
    match = _NAME.fullmatch(text)
    if match is None or (match[3] is not None and match[1] != "t"):
        raise SettingsError(
            f"{text!r} names nothing",
            next_step="names look like s-12 (structure), l-12 (label), c-12 (candidate), p-12 "
            "(trajectory), t-88 (task), t-88#2 (its second attempt), g3, i2 or d3",
        )
    return ObjectName(match[1], int(match[2]), int(match[3]) if match[3] else None)
