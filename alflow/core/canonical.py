"""One canonical text and one digest for JSON-like values and for bytes."""

import hashlib
import json
from mmap import mmap
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    Raises:
        ValueError: If a number is not finite; JSON has no word for it.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )


def sha256_hex(content: bytes | mmap) -> str:
    """SHA-256 of bytes, 64 hexadecimal digits: the name of a blob."""
    return hashlib.sha256(content).hexdigest()


def path_sha256(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files in a folder."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for child in sorted(one for one in path.rglob("*") if one.is_file()):
        digest.update(f"{child.relative_to(path)}\0{path_sha256(child)}\n".encode())
    return digest.hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value."""
    return sha256_hex(canonical_json(value).encode())
