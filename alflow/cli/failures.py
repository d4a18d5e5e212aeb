"""How a command ends when something goes wrong: one message, one exit code."""

import os
import platform
import re
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

from alflow import __version__
from alflow.cli.terminal import complain
from alflow.core.errors import AlflowError

EXIT_BUG = 1
EXIT_INTERRUPTED = 130
EXIT_READER_GONE = 141
CODE_COLUMN = 88
"""Column at which the code of an error ends, if its first line leaves room."""

_CREDENTIALS = (
    re.compile(r"://[^:/@\s]*:[^\s'\"]*@"),
    re.compile(r"(\bpassword=)[^&\s'\"]+", re.IGNORECASE),
)


def tell_error(error: AlflowError) -> int:
    """Print an error on stderr; returns the exit code of the command."""
    complain(rendered(error))
    return error.exit_code


def rendered(error: AlflowError) -> str:
    """The message with its code at the end of the first line."""
    first, *rest = str(error).splitlines() or [""]
    tag = f"[{error.code}]"
    gap = max(2, CODE_COLUMN - len(first) - len(tag))
    return "\n".join(
        [without_credentials(first) + " " * gap + tag, *map(without_credentials, rest)]
    )


def tell_bug(error: BaseException) -> int:
    """Write the traceback of an unexpected exception to a file and say where it is."""
    text = without_credentials(_record(error))
    path = _write(text)
    cause = without_credentials(f"{type(error).__name__}: {error}")
    complain(f"This is a bug in alflow, or in a plug-in: {cause}")
    if path is None:
        complain(text)
    else:
        complain(f"The traceback is in {path}; a report with that file helps to mend it.")
    complain("What was finished is in the database; nothing of it is lost.")
    return EXIT_BUG


def reader_gone() -> int:
    """End quietly because nobody reads stdout any more, as in `alflow ls tasks | head`."""
    # What is still in the buffer would raise again when Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_READER_GONE


def without_credentials(text: str) -> str:
    """Text in which passwords of URLs are blotted out, with their users."""
    url, parameter = _CREDENTIALS
    return parameter.sub(r"\1***", url.sub("://***@", text))


def _record(error: BaseException) -> str:
    head = [
        f"alflow {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"command: {' '.join(sys.argv)}",
        "",
    ]
    return "\n".join(head) + "".join(traceback.format_exception(error))


def _write(text: str) -> Path | None:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S_%fZ")
    for folder in (Path.cwd(), Path(tempfile.gettempdir())):
        path = folder / f"alflow-error-{stamp}.txt"
        try:
            path.write_text(text, encoding="utf-8")
        except OSError:
            continue
        return path
    return None
