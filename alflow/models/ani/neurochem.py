"""Reads ANI ensembles in NeuroChem's own files.

A directory holds one `.params` file with the constants of the descriptor, `sae_linfit.dat` with
self energies, and for each member m a `train<m>/networks` with one `ANN-<symbol>.nnf` for each
element (a short text, bz2-compressed after a length) beside raw little-endian float32 weights.
Energies are in Hartree; they become eV here and nowhere else.
"""

import bz2
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from alflow.core.elements import atomic_number
from alflow.core.errors import SettingsError
from alflow.core.units import EV_PER_HARTREE
from alflow.models.ani.constants import AniConstants
from alflow.models.ani.descriptor import AniDescriptor
from alflow.models.ani.ensemble import AniEnsemble
from alflow.models.ani.network import StackedNetworks

CELU_CODE = 9
LINEAR_CODE = 6
LAYER = re.compile(r"layer\s*\[(.*?)\n\s*\]", re.DOTALL)
FIELD = re.compile(r"(\w+)=([^;]*);")
PARAMETER_FILE = re.compile(r"FILE:([\w.-]+)\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class _Layer:
    n_in: int
    n_out: int
    activation: int
    weights: Path
    biases: Path


def read_neurochem(directory: Path, *, dtype: torch.dtype = torch.float32) -> AniEnsemble:
    """Read an ensemble.

    Args:
        directory: Holds the `.params` file, `sae_linfit.dat` and `train0`, `train1`, ...
        dtype: Floating-point type of its arithmetic.

    Raises:
        SettingsError: If a file is missing or malformed, or asks for what this reader does not
            know.
    """
    try:
        return _read(directory, dtype)
    except OSError as error:
        raise SettingsError(
            f"cannot read NeuroChem files: {error}", code="AL103"
        ) from error
    except (ValueError, KeyError, IndexError) as error:
        raise SettingsError(
            f"the NeuroChem files in {directory} are malformed: {type(error).__name__} {error}"
        ) from error


def _read(directory: Path, dtype: torch.dtype) -> AniEnsemble:
    parameter_files = sorted(directory.glob("*.params"))
    if len(parameter_files) != 1:
        raise SettingsError(
            f"{directory} has {len(parameter_files)} .params files; a NeuroChem model has one"
        )
    constants, symbols = _read_constants(parameter_files[0])
    elements = tuple(atomic_number(symbol) for symbol in symbols)
    n_members = len(list(directory.glob("train[0-9]*/networks")))
    if not n_members:
        raise SettingsError(f"{directory} has no train0/networks, train1/networks, ...")
    weights, biases = _read_members(directory, symbols, n_members)
    networks = StackedNetworks(
        [weight.to(dtype) for weight in weights],
        [bias.to(dtype) for bias in biases],
        len(elements),
        "celu",
    )
    self_energies = {
        atomic_number(symbol): hartree * EV_PER_HARTREE
        for symbol, hartree in _read_self_energies(directory / "sae_linfit.dat").items()
    }
    if missing := set(elements) - set(self_energies):
        raise SettingsError(f"{directory} has no self energy of atomic numbers {missing}")
    return AniEnsemble(
        AniDescriptor(constants, elements, dtype=dtype), networks, self_energies
    )


def _read_members(
    directory: Path, symbols: list[str], n_members: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and biases of each layer of the first element, of the second, ..., in eV."""
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    for symbol in symbols:
        files = [
            directory / f"train{member}" / "networks" / f"ANN-{symbol}.nnf"
            for member in range(n_members)
        ]
        members = [_read_network(file) for file in files]
        for layers in zip(*members, strict=True):
            weights.append(torch.from_numpy(np.stack([weight for weight, _ in layers])))
            biases.append(torch.from_numpy(np.stack([bias for _, bias in layers])))
    n_layers = len(weights) // len(symbols)
    # The output layer is linear, so scaling it converts the energy.
    for last in range(n_layers - 1, len(weights), n_layers):
        weights[last] = weights[last] * EV_PER_HARTREE
        biases[last] = biases[last] * EV_PER_HARTREE
    return weights, biases


def _read_constants(file: Path) -> tuple[AniConstants, list[str]]:
    lines = [line.split("=", 1) for line in file.read_text().splitlines() if "=" in line]
    values = {name.strip(): value.strip().strip("[]").split(",") for name, value in lines}
    many = {
        name: tuple(float(x) for x in values[name]) for name in ("ShfR", "ShfA", "ShfZ")
    }
    one = {
        name: float(_only(values[name])) for name in ("Rcr", "Rca", "EtaR", "EtaA", "Zeta")
    }
    constants = AniConstants(
        radial_cutoff_A=one["Rcr"],
        angular_cutoff_A=one["Rca"],
        radial_eta=one["EtaR"],
        radial_shifts=many["ShfR"],
        angular_eta=one["EtaA"],
        zeta=one["Zeta"],
        angular_shifts=many["ShfA"],
        angular_sections=many["ShfZ"],
    )
    return constants, [symbol.strip() for symbol in values["Atyp"]]


def _only(values: list[str]) -> str:
    if len(values) != 1:
        raise SettingsError(
            f"a NeuroChem constant has {len(values)} values; only one is supported"
        )
    return values[0]


def _read_self_energies(file: Path) -> dict[str, float]:
    """Self energies [Hartree] by symbol; lines read `H,0=-0.6`."""
    lines = [line.split("=", 1) for line in file.read_text().splitlines() if "=" in line]
    return {name.split(",")[0].strip(): float(value) for name, value in lines}


def _read_network(file: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights (in, out) in float64 and biases of each layer."""
    layers = _read_layers(file)
    hidden = {layer.activation for layer in layers[:-1]}
    if layers[-1].activation != LINEAR_CODE or hidden != {CELU_CODE}:
        raise SettingsError(
            f"{file.name} has activation codes {sorted(hidden)} and {layers[-1].activation}; "
            f"only {CELU_CODE} (CELU) and {LINEAR_CODE} (linear) at the end are supported"
        )
    return [
        (
            _read_floats(layer.weights, layer.n_in * layer.n_out)
            .reshape(layer.n_out, layer.n_in)
            .T.copy(),
            _read_floats(layer.biases, layer.n_out),
        )
        for layer in layers
    ]


def _read_floats(file: Path, count: int) -> np.ndarray:
    values = np.frombuffer(file.read_bytes(), "<f4")
    if len(values) != count:
        raise SettingsError(
            f"{file.name} holds {len(values)} numbers; its network needs {count}"
        )
    return values.astype(np.float64)


def _read_layers(file: Path) -> list[_Layer]:
    content = file.read_bytes()
    # A decimal length, an equals sign and one more byte stand before the compressed text.
    text = bz2.decompress(content[content.index(b"=") + 2 :]).rstrip(b"\0").decode("ascii")
    layers = []
    for block in LAYER.findall(text):
        fields = dict(FIELD.findall(block))
        names = [PARAMETER_FILE.fullmatch(fields[name]) for name in ("weights", "biases")]
        paths = [file.parent / match.group(1) for match in names if match]
        if len(paths) != len(names):
            raise SettingsError(f"{file.name} does not name its weights and biases")
        layers.append(
            _Layer(
                int(fields["blocksize"]),
                int(fields["nodes"]),
                int(fields["activation"]),
                *paths,
            )
        )
    if not layers:
        raise SettingsError(f"{file.name} describes no layers")
    return layers
