"""Weights of potentials as safetensors bytes: tensors, and a header of strings."""

import json
from collections.abc import Mapping

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from alflow.core.errors import SettingsError
from alflow.models.headers import LENGTH, header_text


def write_weights(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> bytes:
    """Bytes of a safetensors file; equal content gives equal bytes.

    Args:
        tensors: Tensors by name.
        header: What else there is to say, as strings.
    """
    # safetensors writes the strings of the header in no fixed order: its bytes go through JSON
    # once more, so that a hash of the file is a hash of its content.
    content = save(
        {name: tensors[name].contiguous() for name in sorted(tensors)}, dict(header)
    )
    (length,) = LENGTH.unpack_from(content)
    end = LENGTH.size + length
    return header_text(json.loads(content[LENGTH.size : end])) + content[end:]


def read_tensors(content: bytes) -> dict[str, Tensor]:
    """Tensors by name.

    Raises:
        SettingsError: If the bytes are not a safetensors file.
    """
    try:
        return load(content)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"weights are damaged: {error}") from error
