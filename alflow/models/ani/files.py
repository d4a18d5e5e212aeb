"""ANI ensembles as safetensors bytes."""

import itertools
import json
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from alflow.core.canonical import canonical_json
from alflow.core.elements import SYMBOLS, atomic_number
from alflow.core.errors import SettingsError
from alflow.models.ani.constants import AniConstants
from alflow.models.ani.network import StackedNetworks
from alflow.models.headers import read_header
from alflow.models.repulsion import Repulsion
from alflow.models.weights import read_tensors, write_weights

FAMILY = "ani"
FORMAT_VERSION = 1
UNITS = {"energy": "eV", "length": "Å"}


@dataclass(frozen=True, eq=False, slots=True)
class AniFile:
    """What a file of weights holds.

    Attributes:
        constants: Constants of the descriptor.
        elements: Atomic numbers in the order of the channels.
        networks: Networks of all members and elements.
        self_energies: Energy [eV] of an atom by atomic number.
        metadata: What the writer added.
        repulsion: Repulsion of atoms below the networks; None for none.
    """

    constants: AniConstants
    elements: tuple[int, ...]
    networks: StackedNetworks
    self_energies: dict[int, float]
    metadata: dict[str, str]
    repulsion: Repulsion | None = None

    def to_bytes(self) -> bytes:
        """Bytes of a safetensors file."""
        ani = {
            "activation": self.networks.activation,
            "descriptor": self.constants.to_json(),
            "elements": [SYMBOLS[z] for z in self.elements],
            "self_energies": {
                SYMBOLS[z]: energy for z, energy in self.self_energies.items()
            },
            "units": UNITS,
        }
        if self.repulsion is not None:
            ani["repulsion"] = self.repulsion.to_json()
        header = {
            "family": FAMILY,
            "format_version": str(FORMAT_VERSION),
            "ani": canonical_json(ani),
            "metadata": canonical_json(self.metadata),
        }
        return write_weights(_tensors(self.networks, self.elements), header)

    @classmethod
    def from_bytes(cls, content: bytes) -> "AniFile":
        """The inverse of `to_bytes`.

        Raises:
            SettingsError: If the bytes are malformed, of another family or of a newer format.
        """
        header = read_header(content)
        _check_format(header)
        try:
            ani: dict[str, Any] = json.loads(header["ani"])
            if ani["units"] != UNITS:
                raise SettingsError(
                    f"these weights are in units {ani['units']}, not {UNITS}"
                )
            elements = tuple(atomic_number(symbol) for symbol in ani["elements"])
            constants = AniConstants.from_json(ani["descriptor"])
            networks = _networks(read_tensors(content), elements, str(ani["activation"]))
            self_energies = {
                atomic_number(symbol): float(energy)
                for symbol, energy in ani["self_energies"].items()
            }
            metadata = {str(k): str(v) for k, v in json.loads(header["metadata"]).items()}
            given = ani.get("repulsion")
            repulsion = None if given is None else Repulsion.from_json(given)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise SettingsError(
                f"these ANI weights are malformed: {type(error).__name__} {error}"
            ) from error
        _check_content(constants, elements, networks, self_energies)
        return cls(constants, elements, networks, self_energies, metadata, repulsion)


def _check_format(header: dict[str, str]) -> None:
    if header.get("family") != FAMILY:
        raise SettingsError(
            f"these weights are of family {header.get('family')!r}, not 'ani'"
        )
    if header.get("format_version") != str(FORMAT_VERSION):
        raise SettingsError(
            f"these ANI weights have format version {header.get('format_version')!r}; "
            f"this alflow reads {FORMAT_VERSION}",
            next_step="upgrade alflow to read them",
        )


def _check_content(
    constants: AniConstants,
    elements: tuple[int, ...],
    networks: StackedNetworks,
    self_energies: dict[int, float],
) -> None:
    expected = constants.n_features(len(elements))
    if networks.n_features != expected:
        raise SettingsError(
            f"these ANI weights take {networks.n_features} features; "
            f"their descriptor makes {expected}"
        )
    if set(self_energies) != set(elements):
        raise SettingsError(
            "these ANI weights do not have one self energy for each element"
        )
    if not all(math.isfinite(energy) for energy in self_energies.values()):
        raise SettingsError("these ANI weights have a self energy that is not finite")


def _tensors(networks: StackedNetworks, elements: tuple[int, ...]) -> dict[str, Tensor]:
    tensors = {
        "feature_mean": networks.feature_mean,
        "feature_scale": networks.feature_scale,
    }
    places = itertools.product(elements, range(networks.n_layers))
    for (z, layer), weight, bias in zip(
        places, networks.weights, networks.biases, strict=True
    ):
        tensors[f"{SYMBOLS[z]}.{layer}.weight"] = weight.detach()
        tensors[f"{SYMBOLS[z]}.{layer}.bias"] = bias.detach()
    return tensors


def _networks(
    tensors: dict[str, Tensor], elements: tuple[int, ...], activation: str
) -> StackedNetworks:
    dtypes = {tensor.dtype for tensor in tensors.values()}
    if dtypes not in ({torch.float32}, {torch.float64}):
        raise SettingsError(
            f"these ANI weights have the types {dtypes}; all must be one float"
        )
    n_layers = (len(tensors) - 2) // (2 * max(len(elements), 1))
    places = [f"{SYMBOLS[z]}.{layer}" for z in elements for layer in range(n_layers)]
    expected = {f"{place}.{part}" for place in places for part in ("weight", "bias")}
    if set(tensors) != expected | {"feature_mean", "feature_scale"}:
        raise SettingsError(
            "these ANI weights do not have one tensor for each layer and element"
        )
    _check_dimensions(tensors)
    networks = StackedNetworks(
        [tensors[f"{place}.weight"] for place in places],
        [tensors[f"{place}.bias"] for place in places],
        len(elements),
        activation,
    )
    if (
        not networks.feature_mean.shape
        == tensors["feature_mean"].shape
        == (tensors["feature_scale"].shape)
    ):
        raise SettingsError("the standardisation of these ANI weights has the wrong shape")
    networks.standardise(tensors["feature_mean"], tensors["feature_scale"])
    return networks


def _check_dimensions(tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.dim() != (3 if name.endswith(".weight") else 2) or not tensor.numel():
            raise SettingsError(f"tensor {name!r} of these ANI weights has the wrong shape")
