"""How users name a generation: `g3`, or `3`."""

import re
from pathlib import Path

import typer

from alflow.core.errors import SettingsError

_GENERATION = re.compile(r"g?(\d{1,9})")


def generation_number(text: str) -> int:
    """The number in the name of a generation; `g3` and `3` mean the same.

    Raises:
        SettingsError: If it is not such a name.
    """
    match = _GENERATION.fullmatch(text)
    if match is None:
        raise SettingsError(
            f"{text!r} is not the name of a generation",
            next_step="generations are called g0, g1, ...: alflow models ls",
        )
    return int(match[1])


def is_generation(text: str) -> bool:
    """Whether a word names a generation, and not a file that is there."""
    return _GENERATION.fullmatch(text) is not None and not Path(text).exists()


def generation_option(help_: str) -> typer.models.OptionInfo:
    """The option `--generation` of a command.

    Args:
        help_: What the generation is for.
    """
    found: typer.models.OptionInfo = typer.Option(
        help=help_, parser=generation_number, metavar="gN"
    )
    return found
