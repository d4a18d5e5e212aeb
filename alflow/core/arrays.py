"""Named arrays in one file of bytes: how numbers travel between the manager and workers.

The file is what numpy calls `npz` (a zip archive of plain `npy` arrays, nothing compressed,
nothing pickled), so `numpy.load` opens it. Every array begins at a multiple of 64 bytes, so that
a file mapped into memory is used as it lies, without a copy. Equal arrays give equal bytes.
"""

import io
import mmap
import struct
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

from alflow.core.errors import SettingsError

ALIGNMENT = 64
"""Arrays begin at multiples of this [bytes]."""

Buffer = bytes | mmap.mmap

_LOCAL_HEADER_BYTES = 30
_NAME_LENGTHS_AT = 26
_ZIP64_BYTES = 20
_PADDING_ID = 0xD935
_LONGEST_ARRAY_HEADER = 65536


def write_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Bytes of named arrays; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            array = np.asarray(arrays[name], order="C")
            member = zipfile.ZipInfo(f"{name}.npy")
            member.extra = _padding(buffer.tell(), len(member.filename.encode()))
            with archive.open(member, "w", force_zip64=True) as file:
                header = np.lib.format.header_data_from_array_1_0(array)
                np.lib.format.write_array_header_1_0(file, header)
                if array.size:
                    file.write(array.reshape(-1).view(np.uint8).data)
    return buffer.getvalue()


def read_arrays(content: Buffer, *, is_verified: bool = False) -> dict[str, np.ndarray]:
    """The inverse of `write_arrays`; the arrays lie in `content`, nothing is copied.

    Args:
        content: Bytes, or a file mapped into memory.
        is_verified: Whether a checksum of all of it has been compared already.

    Raises:
        SettingsError: If the content is not such a file.
    """
    try:
        file = io.BytesIO(content) if isinstance(content, bytes) else content
        with zipfile.ZipFile(file) as archive:  # type: ignore[arg-type] # a map reads like a file
            members = archive.infolist()
        return {
            member.filename.removesuffix(".npy"): _array(
                content, member, is_verified=is_verified
            )
            for member in members
        }
    except (ValueError, OSError, KeyError, struct.error, zipfile.BadZipFile) as error:
        raise SettingsError(
            f"a batch of arrays is damaged: {error}", code="AL110"
        ) from error


def _padding(position: int, name_bytes: int) -> bytes:
    """What to put into the header of a member at `position`, so that its content is aligned."""
    fixed = position + _LOCAL_HEADER_BYTES + name_bytes + _ZIP64_BYTES + 4
    missing = -fixed % ALIGNMENT
    return struct.pack("<HH", _PADDING_ID, missing) + bytes(missing)


def _array(content: Buffer, member: zipfile.ZipInfo, *, is_verified: bool) -> np.ndarray:
    at = member.header_offset + _NAME_LENGTHS_AT
    lengths: tuple[int, int] = struct.unpack("<HH", content[at : at + 4])
    name_at = member.header_offset + _LOCAL_HEADER_BYTES
    if content[name_at : name_at + lengths[0]] != member.filename.encode():
        raise ValueError("two names of one array differ")
    start = name_at + sum(lengths)
    end = start + member.file_size
    if member.compress_type != zipfile.ZIP_STORED or end > len(content):
        raise ValueError(f"{member.filename} is not whole")
    if not is_verified and zlib.crc32(memoryview(content)[start:end]) != member.CRC:
        raise ValueError(f"{member.filename} does not have its checksum")
    head = io.BytesIO(content[start : min(end, start + _LONGEST_ARRAY_HEADER)])
    if np.lib.format.read_magic(head) != (1, 0):
        raise ValueError(f"{member.filename} is of an unknown version")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(head)
    size = int(np.prod(shape, dtype=np.int64))
    if is_fortran or dtype.hasobject or head.tell() + size * dtype.itemsize != end - start:
        raise ValueError(f"{member.filename} does not hold the array that it announces")
    if not size:
        return np.zeros(shape, dtype)
    return np.frombuffer(content, dtype, size, start + head.tell()).reshape(shape)
