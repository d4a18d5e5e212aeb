"""Panels of `alflow --help`."""

from typing import Final

START: Final = "Start"
RUN: Final = "Run"
LOOK: Final = "Look"
DATA: Final = "Data"
HELP: Final = "Help"
