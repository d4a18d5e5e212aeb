"""Reads the weights of any potential: the header names the family, its plug-in does the rest."""

from typing import Protocol, runtime_checkable

import torch

from alflow.core.errors import PluginError, SettingsError
from alflow.models.headers import read_header
from alflow.models.potential import Potential
from alflow.registry import find


@runtime_checkable
class Movable(Protocol):
    """A potential that can be put on another device."""

    def to(self, device: torch.device | str) -> Potential:
        """The same potential there."""
        ...


def best_device() -> torch.device:
    """A GPU if this process was given one, else the CPU.

    What a worker may use is in its environment (`CUDA_VISIBLE_DEVICES`): a worker without devices
    sees none.
    """
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def load_potential(weights: bytes, device: torch.device | str = "cpu") -> Potential:
    """The potential in the bytes of a safetensors file.

    Args:
        weights: The file.
        device: Where it shall compute; a family that knows CPUs only stays on the CPU.

    Raises:
        SettingsError: If the bytes are malformed or name no family.
        PluginError: If the family is not installed, or cannot be loaded from weights.
    """
    family = read_header(weights).get("family", "")
    if not family:
        raise SettingsError("the header of these weights names no model family")
    settings = find("models", family)
    if not hasattr(settings, "load"):
        raise PluginError(f"model family {family!r} has no weights to load")
    potential: Potential = settings.load(weights)
    return potential.to(device) if isinstance(potential, Movable) else potential
