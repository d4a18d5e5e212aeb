"""What the text of a site file says, without running it: its first line, and what is missing."""

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from pathlib import Path

_PLACEHOLDER = re.compile(r"YOUR_[A-Z0-9_]+")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A place in a site file where a user has to write something.

    Attributes:
        line: Line, from 1.
        word: What stands there.
        meaning: What to write instead, or empty if the file does not say.
    """

    line: int
    word: str
    meaning: str


def site_text(path: Path) -> tuple[str, str]:
    """First line of the documentation of a site file, and the rest of it; it is not run."""
    try:
        text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    except (OSError, SyntaxError, ValueError):
        return "", ""
    first, _, rest = text.partition("\n")
    return first, rest.strip()


def placeholders(path: Path) -> list[Placeholder]:
    """What a user has still to write into a site file, in the order of its lines."""
    try:
        tokens = list(
            tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)
        )
    except (OSError, SyntaxError, ValueError, tokenize.TokenError):
        return []  # a file that cannot be read is told by those who run it
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokens
        if token.type == tokenize.COMMENT
    }
    return [
        Placeholder(line, word, comments.get(token.start[0], ""))
        for token in tokens
        if token.type == tokenize.STRING
        for line, text in enumerate(token.string.splitlines(), token.start[0])
        for word in _PLACEHOLDER.findall(text)
    ]
