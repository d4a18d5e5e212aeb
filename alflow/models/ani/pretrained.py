"""Weights that a campaign begins from: what their file fixes, and the part that is needed.

No torch: `alflow check` reads the header, the manager cuts out the part with numpy. What is cut
away changes no energy: networks of elements that do not occur, features that are then always
zero, and members that are not wanted.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alflow.core.canonical import canonical_json, sha256_hex
from alflow.core.errors import SettingsError
from alflow.models.ani.constants import AniConstants
from alflow.models.headers import Layout, read_layout, write_plain
from alflow.registry import Settings

DTYPES = {"F32": "float32", "F64": "float64"}
_NUMBERS = "members"
"""Where a generation that lost members says which they are; a campaign counts its own from 0."""


class AniPretrained(Settings):
    """What a file of weights fixes. A campaign file names the file alone."""

    file: str
    """The file that the campaign was begun with; never read again."""
    sha256: str
    """Its checksum; the bytes are in the database."""
    members: int
    """Number of networks in it."""
    elements: tuple[str, ...]
    """Chemical symbols that it knows."""
    hidden: dict[str, tuple[int, ...]]
    """Widths of the hidden layers of each element."""
    activation: str
    """Activation function."""
    dtype: str
    """Floating-point type."""
    descriptor: dict[str, Any]
    """Constants of the descriptor."""
    repulsion: str | None = None
    """Repulsion of nuclei below the networks."""

    def constants(self) -> AniConstants:
        """Constants of the descriptor."""
        return AniConstants.from_json(self.descriptor)


def read_pretrained(file: str) -> dict[str, Any]:
    """What stands in the settings for a file of weights.

    Raises:
        SettingsError: If it cannot be read, or does not hold an ANI ensemble.
    """
    path = Path(file).absolute()
    content = content_of(path)
    try:
        layout = read_layout(content)
        ani = _ani(layout)
        symbols = [str(symbol) for symbol in ani["elements"]]
        hidden = {symbol: _hidden(layout, symbol) for symbol in symbols}
        first = layout.shapes[f"{symbols[0]}.0.weight"]
        AniConstants.from_json(ani["descriptor"])
        return {
            "file": str(path),
            "sha256": sha256_hex(content),
            "members": first[0],
            "elements": symbols,
            "hidden": hidden,
            "activation": str(ani["activation"]),
            "dtype": DTYPES[layout.dtypes["feature_mean"]],
            "descriptor": ani["descriptor"],
            "repulsion": _repulsion_name(ani.get("repulsion")),
        }
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise SettingsError(
            f"{file} holds malformed ANI weights: {type(error).__name__} {error}"
        ) from error
    except SettingsError as error:
        raise SettingsError(
            f"{file}: {error.message}", code=error.code, next_step=error.next_step
        ) from error


def _repulsion_name(value: Any) -> str | None:
    return "fitted" if isinstance(value, Mapping) else value


def content_of(path: Path) -> bytes:
    """Bytes of a file of weights.

    Raises:
        SettingsError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"cannot read {path}: {error.strerror}",
            code="AL103",
            next_step="a campaign that runs already has a copy of it: alflow resume",
        ) from error


def part_of(content: bytes, elements: Sequence[str], members: int) -> bytes:
    """The weights of these elements and of the first members; the file itself if that is all.

    Kept numbers are kept bit by bit. A bias changes where features of a lost element were
    shifted by a mean, which then counts as a constant.

    Args:
        content: Bytes of a file of ANI weights.
        elements: Chemical symbols; their order does not matter.
        members: Number of members.

    Raises:
        SettingsError: If the file is malformed, or does not know an element.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    layout = read_layout(content)
    ani = _ani(layout)
    known = [str(symbol) for symbol in ani["elements"]]
    if unknown := sorted(set(elements) - set(known)):
        raise SettingsError(
            f"the pretrained weights do not know {', '.join(unknown)}; "
            f"they know {', '.join(known)}"
        )
    kept = [symbol for symbol in known if symbol in elements]
    try:
        tensors = load(content)
        is_whole = kept == known and len(tensors[f"{known[0]}.0.weight"]) == members
        if is_whole and _NUMBERS not in _metadata(layout.strings):
            return content
        constants = AniConstants.from_json(ani["descriptor"])
        return write_plain(
            _cut(tensors, constants, known, kept, members),
            _header(layout.strings, ani, kept, members, sha256_hex(content)),
        )
    except (SafetensorError, KeyError, IndexError, TypeError, ValueError) as error:
        raise SettingsError(
            f"the pretrained weights are malformed: {type(error).__name__} {error}"
        ) from error


def _ani(layout: Layout) -> dict[str, Any]:
    family = layout.strings.get("family")
    if family != "ani":
        what = f"are of family {family!r}" if family else "name no model family"
        raise SettingsError(
            f"its weights {what}; 'ani' is needed",
            next_step="weights of other programs: alflow models import",
        )
    found: dict[str, Any] = json.loads(layout.strings["ani"])
    return found


def _metadata(strings: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = json.loads(strings.get("metadata", "{}"))
    return found


def _hidden(layout: Layout, symbol: str) -> list[int]:
    layers = sum(name.startswith(f"{symbol}.") for name in layout.shapes) // 2
    return [layout.shapes[f"{symbol}.{k}.weight"][2] for k in range(layers - 1)]


def _header(
    strings: Mapping[str, str],
    ani: Mapping[str, Any],
    kept: Sequence[str],
    members: int,
    sha: str,
) -> dict[str, str]:
    own = {symbol: ani["self_energies"][symbol] for symbol in kept}
    metadata = {
        **{k: v for k, v in _metadata(strings).items() if k != _NUMBERS},
        "part_of_sha256": sha,
        "part_elements": " ".join(kept),
        "part_members": str(members),
    }
    changed = {**ani, "elements": list(kept), "self_energies": own}
    return {
        **strings,
        "ani": canonical_json(changed),
        "metadata": canonical_json(metadata),
    }


def _cut(
    tensors: Mapping[str, np.ndarray],
    constants: AniConstants,
    known: Sequence[str],
    kept: Sequence[str],
    members: int,
) -> dict[str, np.ndarray]:
    columns = _columns(constants, known, kept)
    lost = np.setdiff1d(np.arange(constants.n_features(len(known))), columns)
    rows = np.array([known.index(symbol) for symbol in kept])
    mean, scale = tensors["feature_mean"], tensors["feature_scale"]
    found = {
        "feature_mean": mean[np.ix_(rows, columns)],
        "feature_scale": scale[np.ix_(rows, columns)],
    }
    for name, tensor in tensors.items():
        if name.partition(".")[0] in kept:
            found[name] = tensor[:members]
    for row, symbol in zip(rows, kept, strict=True):
        weight, bias = found[f"{symbol}.0.weight"], found[f"{symbol}.0.bias"]
        always = -mean[row, lost].astype(np.float64) / scale[row, lost]
        if always.any():
            shift = np.einsum("f,mfo->mo", always, weight[:, lost].astype(np.float64))
            found[f"{symbol}.0.bias"] = (bias + shift).astype(bias.dtype)
        found[f"{symbol}.0.weight"] = weight[:, columns]
    return {name: np.ascontiguousarray(tensor) for name, tensor in found.items()}


def _columns(
    constants: AniConstants, known: Sequence[str], kept: Sequence[str]
) -> np.ndarray:
    """Features that the kept elements have among those of all, in order."""
    n_radial = len(constants.radial_shifts)
    n_angular = len(constants.angular_shifts) * len(constants.angular_sections)
    start = len(known) * n_radial
    radial = [known.index(symbol) * n_radial + np.arange(n_radial) for symbol in kept]
    pairs = list(itertools.combinations_with_replacement(known, 2))
    angular = [
        start + k * n_angular + np.arange(n_angular)
        for k, pair in enumerate(pairs)
        if set(pair) <= set(kept)
    ]
    return np.concatenate([*radial, *angular])
