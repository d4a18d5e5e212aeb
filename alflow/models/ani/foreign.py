"""Weights from elsewhere: finds out what a file or folder holds and makes an ensemble of it."""

from pathlib import Path

from alflow.core.canonical import sha256_hex
from alflow.core.errors import SettingsError
from alflow.models.ani.ensemble import AniEnsemble
from alflow.models.ani.neurochem import read_neurochem
from alflow.models.ani.torchani_state import Unsaid, is_torchani, read_torchani
from alflow.models.headers import SAVE, read_layout

_HDF5 = b"\x89HDF\r\n\x1a\n"
_NOTHING = "Nothing was written."


def read_foreign(source: Path, said: Unsaid | None = None) -> AniEnsemble:
    """The ensemble in a NeuroChem folder or in a state dict of torchani.

    Its metadata say where it came from.

    Args:
        source: Folder, or safetensors file.
        said: What a state dict leaves unsaid.

    Raises:
        SettingsError: If it is neither, or cannot be read; the message names the file.
    """
    try:
        if source.is_dir():
            ensemble = read_neurochem(_model_folder(source))
            ensemble.metadata = {"imported_from": "neurochem", "source": source.name}
            return ensemble
        content = source.read_bytes()
        _check_kind(content)
        ensemble = read_torchani(content, said)
    except OSError as error:
        raise SettingsError(
            f"cannot read {source}: {error.strerror}", code="AL103", consequence=_NOTHING
        ) from error
    except SettingsError as error:
        message = error.message
        if str(source) not in message:
            message = f"{source}: {message}"
        raise SettingsError(
            message,
            code=error.code,
            consequence=_NOTHING,
            next_step=error.next_step,
        ) from error
    ensemble.metadata = {
        "imported_from": "torchani",
        "source": source.name,
        "source_sha256": sha256_hex(content),
    }
    return ensemble


def _model_folder(source: Path) -> Path:
    """The folder with the constants; `train` of a model may be named instead."""
    if list(source.glob("*.params")) or not list(source.parent.glob("*.params")):
        return source
    return source.parent


def _check_kind(content: bytes) -> None:
    """Refuse what is not a state dict of torchani in a safetensors file."""
    if content.startswith(_HDF5):
        raise SettingsError(
            "is an HDF5 file, not weights of a model",
            next_step="structures and labels come in by: alflow import FILE",
        )
    try:
        layout = read_layout(content)
    except SettingsError as error:
        hint = (
            "NeuroChem folders and state dicts of torchani 2 can be read; structures and labels "
            "come in by: alflow import FILE"
        )
        is_pickle = error.next_step == SAVE
        raise SettingsError(error.message, next_step=SAVE if is_pickle else hint) from error
    if family := layout.strings.get("family"):
        raise SettingsError(
            f"holds weights of alflow already (family {family!r}): use it as it is",
            next_step="look at it: alflow models show FILE",
        )
    if not is_torchani(list(layout.shapes)):
        shown = ", ".join(sorted(layout.shapes)[:3]) or "none"
        raise SettingsError(
            f"is no state dict of torchani; its first tensors are {shown}",
            next_step=f"NeuroChem folders and state dicts of torchani 2 can be read; {SAVE}",
        )
