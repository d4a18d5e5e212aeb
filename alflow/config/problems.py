"""What is wrong with a campaign file, as values, and the one error that carries them all."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from alflow.core.errors import SettingsError

SNIPPET_WIDTH = 84
"""Longest piece of an offending line that is shown."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong at a place in a campaign file.

    Attributes:
        file: File name as the user gave it.
        line: Line, 1 is the first; 0 if the file could not be read.
        column: Column, 1 is the first; 0 if the file could not be read.
        path: Dotted path of the setting, empty for the whole file.
        message: What is wrong, with the value and the rule.
        hint: What to write instead, or an empty string.
        code: Stable identifier of the rule.
        snippet: The offending line, or an empty string.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str
    code: str
    snippet: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict."""
        return asdict(self)

    def __str__(self) -> str:
        """Place, message, the offending line and a caret, as on a terminal."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        what = f"{self.path}: {self.message}" if self.path else self.message
        code = "" if self.code in ("AL101", "AL102") else f"  [{self.code}]"
        rows = [f"{place}  {what}{code}"]
        if self.snippet:
            text, caret = _window(self.snippet, self.column)
            rows += [f"{self.line:5d} | {text}", f"      | {caret}"]
        if self.hint:
            rows[-1] += f"  {self.hint}" if self.snippet else f"\n      {self.hint}"
        return "\n".join(rows)


class CampaignFileError(SettingsError):
    """A campaign file has problems; all of them are here.

    Attributes:
        problems: The problems, in the order of the file.
    """

    default_code = "AL102"

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        """Join the problems to one message."""
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        head = f"{file}: {count}; nothing was started."
        super().__init__("\n".join([head, *map(str, problems)]))
        self.problems = tuple(problems)


def dotted(path: Sequence[str | int]) -> str:
    """A path as people write it: `system.builders[0].count`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def did_you_mean(word: str | None, more: str = "") -> str:
    """The hint for a close match, or only `more` where there is none."""
    parts = [f"did you mean {word!r}?" if word else "", more]
    return "  ".join(part for part in parts if part)


def _window(line: str, column: int) -> tuple[str, str]:
    """The part of a line around a column, and a caret below that column."""
    text = line.rstrip().replace("\t", " ")
    start = 0
    if len(text) > SNIPPET_WIDTH:
        start = max(0, min(column - 1 - SNIPPET_WIDTH // 2, len(text) - SNIPPET_WIDTH))
    piece = text[start : start + SNIPPET_WIDTH]
    head = "…" if start else ""
    tail = "…" if start + SNIPPET_WIDTH < len(text) else ""
    return head + piece + tail, " " * (len(head) + column - 1 - start) + "^"
