"""Labelled structures in and out of files of other programs.

`read_file` gives the frames of a file in eV and Å, `validate` sorts them, and the writers of
`FORMATS` write what a campaign has labelled. Nothing here knows of SQL, and nothing is unpickled.
"""

from alflow.store.interchange.formats import (
    FORMATS,
    Format,
    format_for_writing,
    format_of,
    read_file,
)
from alflow.store.interchange.frames import ExportedFrame, ImportedFrame
from alflow.store.interchange.options import ReadOptions
from alflow.store.interchange.report import AcceptedFrame, Quarantined, Validation
from alflow.store.interchange.screening import Limits
from alflow.store.interchange.units import Units, parsed_units
from alflow.store.interchange.validation import SKIPPABLE, validate

__all__ = [
    "FORMATS",
    "SKIPPABLE",
    "AcceptedFrame",
    "ExportedFrame",
    "Format",
    "ImportedFrame",
    "Limits",
    "Quarantined",
    "ReadOptions",
    "Units",
    "Validation",
    "format_for_writing",
    "format_of",
    "parsed_units",
    "read_file",
    "validate",
]
