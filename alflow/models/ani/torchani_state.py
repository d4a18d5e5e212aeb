"""ANI ensembles as state dicts of torchani 2, kept in safetensors files.

torchani's own `.pt` files are pickles, which run whatever is in them: alflow reads none. Whoever
has the model types

    from safetensors.torch import save_file
    save_file(model.state_dict(), "model.safetensors")

A state dict has the Gaussians of the descriptor, the self energies [Hartree] and the layers, but
neither cutoffs nor the names of the activation and of the cutoff function. Cutoffs follow where
centres are evenly spaced, as torchani places them; the other two are known for the published
constants (ANI-1x, ANI-1ccx, ANI-2x) and else have to be said. What alflow writes says all of it in
the header.
"""

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.core.units import EV_PER_HARTREE
from alflow.models.ani.constants import ANI_1X, ANI_2X, AniConstants
from alflow.models.ani.descriptor import AniDescriptor
from alflow.models.ani.ensemble import AniEnsemble
from alflow.models.ani.network import ACTIVATIONS, StackedNetworks
from alflow.models.headers import read_layout
from alflow.models.weights import read_tensors, write_weights

AEV = "potentials.nnp.aev_computer."
NETWORKS = "potentials.nnp.neural_networks."
SELF_ENERGIES = "energy_shifter.self_energies"
ACTIVATION_OF_TORCHANI = {"celu": "celu", "gelu": "gelu", "silu": "torch.nn.SiLU()"}
"""What torchani takes for an activation of alflow; silu is a module, for which it has no name."""

_LAYER = re.compile(
    r"(?:members\.(\d+)\.)?atomics\.(\w+)\.(?:layers\.(\d+)|final_layer)\.(weight|bias)"
)
_ELSEWHERE = ("atomic_numbers", "species_converter.conv_tensor", f"{AEV}triu_index")
"""Tensors that follow from the elements."""
_TERMS = {
    f"{AEV}radial.eta": "radial_eta",
    f"{AEV}radial.shifts": "radial_shifts",
    f"{AEV}angular.eta": "angular_eta",
    f"{AEV}angular.zeta": "zeta",
    f"{AEV}angular.shifts": "angular_shifts",
    f"{AEV}angular.sections": "angular_sections",
}
_EVEN = 1e-4
"""Spacings that differ by less [Å] are the same; float32 keeps six digits of a centre."""
_NAMES_OF_OLD = ("aev_computer.", "neural_networks.", "potentials.0.", "potentials.1.")


@dataclass(frozen=True, slots=True)
class Unsaid:
    """What a state dict does not say; None where it is not known.

    Attributes:
        activation: Name of the activation function, as in `network.ACTIVATIONS`.
        cutoff_function: `cosine`; torchani also has others, which alflow does not know.
        radial_cutoff_A: Reach of the radial part [Å].
        angular_cutoff_A: Reach of the angular part [Å].
    """

    activation: str | None = None
    cutoff_function: str | None = None
    radial_cutoff_A: float | None = None
    angular_cutoff_A: float | None = None


def is_torchani(names: Sequence[str]) -> bool:
    """Whether tensors of these names make a state dict of torchani, of version 2 or older."""
    return any(name.startswith((AEV, NETWORKS, *_NAMES_OF_OLD)) for name in names)


def read_torchani(content: bytes, said: Unsaid | None = None) -> AniEnsemble:
    """Read an ensemble.

    Args:
        content: Bytes of a safetensors file.
        said: What the user says about it; goes before what follows from its content.

    Raises:
        SettingsError: If it is not such a state dict, lacks something, or has terms that alflow
            does not know.
    """
    tensors = read_tensors(content)
    _check_names(list(tensors))
    said = _joined(said or Unsaid(), read_layout(content).strings)
    elements = tuple(int(z) for z in tensors["atomic_numbers"].tolist())
    symbols = [_symbol(z) for z in elements]
    weights, biases = _layers(tensors, symbols)
    dtype = weights[0].dtype
    constants = _constants(tensors, said)
    activation = _activation(constants, said, has_biases=_has_biases(tensors))
    networks = StackedNetworks(weights, biases, len(elements), activation)
    own = tensors[SELF_ENERGIES].to(torch.float64) * EV_PER_HARTREE
    descriptor = AniDescriptor(constants, elements, dtype=dtype)
    return AniEnsemble(descriptor, networks, dict(zip(elements, own.tolist(), strict=True)))


def write_torchani(ensemble: AniEnsemble) -> bytes:
    """Bytes of a safetensors file with the state dict of the same ensemble in torchani.

    The standardisation of the features goes into the first layers, computed in float64 and
    rounded once.

    Raises:
        SettingsError: If torchani does not have its activation.
    """
    activation = ensemble.networks.activation
    if activation not in ACTIVATION_OF_TORCHANI:
        raise SettingsError(
            f"torchani has no activation {activation!r}",
            consequence="Nothing was written.",
            next_step=f"it has: {', '.join(ACTIVATION_OF_TORCHANI)}; "
            "--format alflow keeps the ensemble as it is",
        )
    if ensemble.repulsion is not None:
        raise SettingsError(
            f"a state dict of torchani cannot tell of the repulsion {ensemble.repulsion.name!r} "
            "below these networks",
            consequence="Nothing was written.",
            next_step="--format alflow keeps the ensemble as it is; to export to torchani, train "
            "with model.repulsion: null",
        )
    constants, symbols = (
        ensemble.descriptor.constants,
        [SYMBOLS[z] for z in ensemble.elements],
    )
    tensors = _shared_tensors(ensemble)
    widths: dict[str, list[int]] = {}
    for element, symbol in enumerate(symbols):
        layers = _folded_layers(ensemble.networks, element)
        widths[symbol] = [layers[0][0].shape[1], *(b.shape[1] for _, b in layers)]
        for (layer, (weight, bias)), member in itertools.product(
            enumerate(layers), range(ensemble.n_members)
        ):
            is_last = layer + 1 == len(layers)
            place = NETWORKS + ("" if ensemble.n_members == 1 else f"members.{member}.")
            place += f"atomics.{symbol}." + (
                "final_layer" if is_last else f"layers.{layer}"
            )
            tensors[f"{place}.weight"] = weight[member].T.contiguous()
            tensors[f"{place}.bias"] = bias[member].contiguous()
    header = {
        "format": "torchani",
        "symbols": " ".join(symbols),
        "members": str(ensemble.n_members),
        "widths": json.dumps(widths),
        "activation": activation,
        "cutoff_function": "cosine",
        "radial_cutoff_A": repr(constants.radial_cutoff_A),
        "angular_cutoff_A": repr(constants.angular_cutoff_A),
    }
    return write_weights(tensors, header)


def _shared_tensors(ensemble: AniEnsemble) -> dict[str, Tensor]:
    """What all members share. In float64: torchani rounds it to the type of its model."""
    constants, elements = ensemble.descriptor.constants, ensemble.elements
    values = constants.to_json()
    tensors = {
        name: torch.tensor(values[field], dtype=torch.float64).reshape(-1)
        for name, field in _TERMS.items()
    }
    own = torch.tensor([ensemble.self_energies[z] for z in elements], dtype=torch.float64)
    converter = torch.full((len(SYMBOLS) + 1,), -1)
    converter[list(elements)] = torch.arange(len(elements))
    n_elements = len(elements)
    rows, columns = torch.triu_indices(n_elements, n_elements)
    pair_of = torch.zeros(n_elements, n_elements, dtype=torch.long)
    pair_of[rows, columns] = pair_of[columns, rows] = torch.arange(len(rows))
    return {
        **tensors,
        SELF_ENERGIES: own / EV_PER_HARTREE,
        "atomic_numbers": torch.tensor(elements),
        "species_converter.conv_tensor": converter,
        f"{AEV}triu_index": pair_of,
    }


def _folded_layers(networks: StackedNetworks, element: int) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of an element, for features that are not standardised, in Hartree."""
    first = element * networks.n_layers
    places = range(first, first + networks.n_layers)
    layers = [
        (networks.weights[k].detach().double(), networks.biases[k].detach().double())
        for k in places
    ]
    weight, bias = layers[0]
    scaled = weight / networks.feature_scale[element].double()[:, None]
    mean = networks.feature_mean[element].double()
    layers[0] = scaled, bias - torch.einsum("f,mfo->mo", mean, scaled)
    weight, bias = layers[-1]
    layers[-1] = weight / EV_PER_HARTREE, bias / EV_PER_HARTREE
    dtype = networks.feature_mean.dtype
    return [(weight.to(dtype), bias.to(dtype)) for weight, bias in layers]


def _check_names(names: Sequence[str]) -> None:
    wanted = {"atomic_numbers", SELF_ENERGIES, *_TERMS}
    old = [name for name in names if name.startswith(_NAMES_OF_OLD)]
    if old:
        raise SettingsError(
            f"this state dict is of a torchani before 2 (it has {old[0]!r})",
            next_step="load it into the model of torchani 2 and save that model's state_dict()",
        )
    beside = sorted(
        {
            name.split(".")[1]
            for name in names
            if name.startswith("potentials.") and not name.startswith((AEV, NETWORKS))
        }
    )
    if beside:
        raise SettingsError(
            f"this model has energy terms beside its networks: {', '.join(beside)}. alflow "
            "knows none of them, and without them its energies would be others",
        )
    if missing := sorted(wanted - set(names)):
        raise SettingsError(
            f"this state dict of torchani lacks {', '.join(missing)}",
            next_step="save the state_dict() of the whole model, not of a part of it",
        )
    known = {*wanted, *_ELSEWHERE}
    strange = [
        name
        for name in names
        if name not in known
        and not (
            name.startswith(NETWORKS) and _LAYER.fullmatch(name.removeprefix(NETWORKS))
        )
    ]
    if strange:
        raise SettingsError(
            f"this state dict of torchani has {len(strange)} tensors that alflow does not know: "
            f"{', '.join(strange[:3])}",
            next_step="ensembles of one network for each element (ANINetworks) can be read",
        )


def _symbol(number: int) -> str:
    if not 0 < number < len(SYMBOLS):
        raise SettingsError(f"this state dict has the atomic number {number}")
    return SYMBOLS[number]


def _layers(
    tensors: Mapping[str, Tensor], symbols: Sequence[str]
) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and biases of each layer of the first element, of the second, ..., in eV."""
    found: dict[tuple[int, str, int, str], Tensor] = {}
    for name, tensor in tensors.items():
        match = _LAYER.fullmatch(name.removeprefix(NETWORKS))
        if match and name.startswith(NETWORKS):
            member, symbol, layer, part = match.groups()
            # Hidden layers have numbers; the last one has a name.
            place = int(layer) if layer is not None else -1
            found[int(member or 0), symbol, place, part] = tensor
    if not all(tensor.isfinite().all() for tensor in found.values()):
        raise SettingsError("this state dict has weights that are not finite")
    dtypes = {tensor.dtype for tensor in found.values()}
    if dtypes not in ({torch.float32}, {torch.float64}):
        raise SettingsError(
            f"the networks of this state dict have the types {sorted(map(str, dtypes))}",
            next_step="convert the model first: model.float() or model.double()",
        )
    n_members = 1 + max(member for member, *_ in found)
    n_hidden = 1 + max(layer for _, _, layer, _ in found)
    weights, biases = [], []
    try:
        for symbol, layer in itertools.product(symbols, [*range(n_hidden), -1]):
            weight = torch.stack(
                [found[m, symbol, layer, "weight"].T for m in range(n_members)]
            )
            absent = weight.new_zeros(weight.shape[2])
            bias = torch.stack(
                [found.get((m, symbol, layer, "bias"), absent) for m in range(n_members)]
            )
            factor = EV_PER_HARTREE if layer == -1 else 1.0
            weights.append((weight.double() * factor).to(weight.dtype))
            biases.append((bias.double() * factor).to(weight.dtype))
    except KeyError as error:
        raise SettingsError(
            f"this state dict lacks the layer {error.args[0]} (member, element, layer; -1 is "
            "the last one): all networks must have as many layers"
        ) from error
    except (RuntimeError, IndexError) as error:
        raise SettingsError(
            f"the layers of this state dict differ between members: {error}"
        ) from error
    return weights, biases


def _has_biases(tensors: Mapping[str, Tensor]) -> bool:
    return any(name.endswith(".bias") for name in tensors)


def _joined(said: Unsaid, header: Mapping[str, str]) -> Unsaid:
    """What the user says, else what the header says."""

    def reach(given: float | None, name: str) -> float | None:
        try:
            return given if given is not None or name not in header else float(header[name])
        except ValueError as error:
            raise SettingsError(
                f"the header says {name}={header[name]!r}, not a number"
            ) from error

    return Unsaid(
        said.activation or header.get("activation"),
        said.cutoff_function or header.get("cutoff_function"),
        reach(said.radial_cutoff_A, "radial_cutoff_A"),
        reach(said.angular_cutoff_A, "angular_cutoff_A"),
    )


def _constants(tensors: Mapping[str, Tensor], said: Unsaid) -> AniConstants:
    lists = {field: _decimals(tensors[name]) for name, field in _TERMS.items()}
    for field in ("radial_eta", "angular_eta", "zeta"):
        if len(lists[field]) != 1:
            raise SettingsError(
                f"{field} of this state dict has {len(lists[field])} values; one is supported"
            )
    radial = said.radial_cutoff_A or _cutoff(lists["radial_shifts"], "radial")
    angular = said.angular_cutoff_A or _cutoff(lists["angular_shifts"], "angular")
    return AniConstants(
        radial,
        angular,
        lists["radial_eta"][0],
        lists["radial_shifts"],
        lists["angular_eta"][0],
        lists["zeta"][0],
        lists["angular_shifts"],
        lists["angular_sections"],
    )


def _decimals(tensor: Tensor) -> tuple[float, ...]:
    """Numbers as they were meant: the shortest decimals that round to what is there."""
    values = tensor.reshape(-1).numpy()
    return tuple(
        float(str(value)) if values.dtype == np.float32 else float(value)
        for value in values
    )


def _cutoff(shifts: Sequence[float], part: str) -> float:
    """Where the next centre would be: torchani spaces centres evenly up to the cutoff."""
    steps = np.diff(shifts)
    if not len(steps) or steps.min() <= 0 or np.ptp(steps) > _EVEN:
        raise SettingsError(
            f"the {part} cutoff does not follow from the centres of this state dict",
            next_step=f"name it: --{part}-cutoff 5.2",
        )
    cutoff = shifts[0] + len(shifts) * (shifts[-1] - shifts[0]) / len(steps)
    return round(cutoff, 5)


def _activation(constants: AniConstants, said: Unsaid, *, has_biases: bool) -> str:
    """The activation; refuses cutoff functions that are not cosines."""
    is_published = has_biases and any(
        _is_same(constants, known) for known in (ANI_1X, ANI_2X)
    )
    activation = said.activation or ("celu" if is_published else None)
    function = said.cutoff_function or ("cosine" if is_published else None)
    if activation is None or function is None:
        raise SettingsError(
            "a state dict of torchani does not say its activation and cutoff function, and "
            "this one has not the descriptor of ANI-1x, ANI-1ccx or ANI-2x",
            next_step="name them, for example --activation gelu --cutoff-function cosine",
        )
    if function != "cosine":
        raise SettingsError(
            f"this model has the cutoff function {function!r}; alflow knows 'cosine' alone"
        )
    if activation not in ACTIVATIONS:
        raise SettingsError(
            f"there is no activation {activation!r}",
            next_step=f"known: {', '.join(ACTIVATIONS)}",
        )
    return activation


def _is_same(one: AniConstants, other: AniConstants) -> bool:
    numbers = [_flat(constants) for constants in (one, other)]
    return len(numbers[0]) == len(numbers[1]) and all(
        math.isclose(a, b, rel_tol=1e-6) for a, b in zip(*numbers, strict=True)
    )


def _flat(constants: AniConstants) -> list[float]:
    values = [v for _, v in sorted(constants.to_json().items())]
    return [x for v in values for x in (v if isinstance(v, list | tuple) else (v,))]
