"""What the command lines of benchmarks take, so that a typing error costs no measurement."""

import argparse
from collections.abc import Callable
from pathlib import Path


def count(text: str) -> int:
    """A whole number, at least 1."""
    return _at_least(text, 1)


def or_none(text: str) -> int:
    """A whole number, 0 to leave something out."""
    return _at_least(text, 0)


def data_folder(*files: str) -> Callable[[str], Path]:
    """A folder that holds these files."""

    def folder(text: str) -> Path:
        for name in files:
            if not (Path(text) / name).is_file():
                raise argparse.ArgumentTypeError(f"there is no file {name} in {text}")
        return Path(text)

    return folder


def result_file(text: str) -> Path:
    """A file that can be written when all is measured."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(
            f"there is no folder {path.parent} for {path.name}"
        )
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder")
    return path


def _at_least(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
    return number
