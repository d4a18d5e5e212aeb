"""What the header of a safetensors file says, without a look at its tensors and without torch."""

import json
import struct
from dataclasses import dataclass
from typing import Any

from alflow.core.errors import SettingsError

LENGTH = struct.Struct("<Q")
"""A safetensors file starts with the length of its JSON header in this form."""
METADATA = "__metadata__"
_NOT_OURS = (
    struct.error,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Names, types and shapes of the tensors of a safetensors file.

    Attributes:
        strings: Strings of the header; empty where the writer left none.
        dtypes: Type of each tensor by name, as safetensors spells it: F32, F64, I64, ...
        shapes: Shape of each tensor by name.
    """

    strings: dict[str, str]
    dtypes: dict[str, str]
    shapes: dict[str, tuple[int, ...]]


def read_layout(content: bytes) -> Layout:
    """Everything that the header says.

    Raises:
        SettingsError: If the bytes are not a safetensors file.
    """
    try:
        values = _header(content)
        strings = values.pop(METADATA, None) or {}
        return Layout(
            {str(name): str(value) for name, value in strings.items()},
            {name: str(value["dtype"]) for name, value in values.items()},
            {name: tuple(int(n) for n in value["shape"]) for name, value in values.items()},
        )
    except _NOT_OURS as error:
        raise SettingsError(f"this is not a safetensors file: {error}") from error


def read_header(content: bytes) -> dict[str, str]:
    """Strings of the header that alflow writes.

    Raises:
        SettingsError: If the bytes are not a safetensors file, or have no such strings.
    """
    try:
        values = _header(content)[METADATA]
        return {str(name): str(value) for name, value in values.items()}
    except _NOT_OURS as error:
        raise SettingsError(
            f"these weights are not a safetensors file of alflow: {error}"
        ) from error


def _header(content: bytes) -> dict[str, Any]:
    (length,) = LENGTH.unpack_from(content)
    values: dict[str, Any] = json.loads(content[LENGTH.size : LENGTH.size + length])
    return values
