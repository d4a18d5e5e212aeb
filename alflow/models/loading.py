"""Reads the weights of any potential: the header names the family, its plug-in does the rest."""

from alflow.core.errors import PluginError, SettingsError
from alflow.models.potential import Potential
from alflow.models.weights import read_header
from alflow.registry import find


def load_potential(weights: bytes) -> Potential:
    """The potential in the bytes of a safetensors file.

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
    return potential
