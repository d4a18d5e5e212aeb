"""One canonical text and one digest for JSON-like values and for bytes."""

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    Raises:
        ValueError: If a number is not finite; JSON has no word for it.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )


def sha256_hex(content: bytes) -> str:
    """SHA-256 of bytes, 64 hexadecimal digits: the name of a blob."""
    return hashlib.sha256(content).hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value."""
    return sha256_hex(canonical_json(value).encode())
