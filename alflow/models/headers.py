"""What the header of a safetensors file says, without a look at its tensors and without torch."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from alflow.core.errors import SettingsError

LENGTH = struct.Struct("<Q")
"""A safetensors file starts with the length of its JSON header in this form."""
METADATA = "__metadata__"
ALIGNMENT = 8
_NAMES = {"float32": "F32", "float64": "F64"}
SAVE = (
    "in the program that has the model, type\n"
    "  from safetensors.torch import save_file\n"
    '  save_file(model.state_dict(), "model.safetensors")'
)
"""What to type where there is a model and no safetensors file of it."""
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
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
        raise _refusal(content, "this is not a safetensors file") from error


def read_header(content: bytes) -> dict[str, str]:
    """Strings of the header that alflow writes.

    Raises:
        SettingsError: If the bytes are not a safetensors file, or have no such strings.
    """
    try:
        values = _header(content)[METADATA]
        return {str(name): str(value) for name, value in values.items()}
    except _NOT_OURS as error:
        raise _refusal(content, "this is not a safetensors file of alflow") from error


def write_plain(tensors: Mapping[str, np.ndarray], header: Mapping[str, str]) -> bytes:
    """Bytes of a safetensors file, from arrays; equal content gives equal bytes.

    Args:
        tensors: Arrays of float32 or float64, by name.
        header: What else there is to say, as strings.
    """
    places: dict[str, Any] = {METADATA: dict(header)}
    end = 0
    for name in sorted(tensors):
        begin, end = end, end + tensors[name].nbytes
        places[name] = {
            "dtype": _NAMES[str(tensors[name].dtype)],
            "shape": list(tensors[name].shape),
            "data_offsets": [begin, end],
        }
    text = header_text(places)
    return b"".join([text, *(tensors[name].tobytes() for name in sorted(tensors))])


def header_text(places: Mapping[str, Any]) -> bytes:
    """The beginning of a safetensors file: the same for the same content, in aligned length."""
    text = json.dumps(places, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return LENGTH.pack(len(text)) + text


def _refusal(content: bytes, message: str) -> SettingsError:
    if not content.startswith(_PICKLES):
        hint = "weights of other programs: alflow models import SOURCE -o FILE"
        return SettingsError(message, next_step=hint)
    return SettingsError(
        f"{message} but a pickle, as torch.save writes it. Opening one runs whatever is in it, so "
        "alflow opens none",
        next_step=SAVE,
    )


def _header(content: bytes) -> dict[str, Any]:
    (length,) = LENGTH.unpack_from(content)
    values: dict[str, Any] = json.loads(content[LENGTH.size : LENGTH.size + length])
    return values
