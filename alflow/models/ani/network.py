"""Networks of all members and elements, evaluated together; gradients written by hand."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from alflow.core.errors import SettingsError
from alflow.core.seeds import generator

CELU_ALPHA = 0.1
"""Published ANI networks use this value."""

ActivationPair = Callable[[Tensor], tuple[Tensor, Tensor]]


def _silu(x: Tensor) -> tuple[Tensor, Tensor]:
    gate = torch.sigmoid(x)
    value = x * gate
    return value, gate + value * (1 - gate)


def _celu(x: Tensor) -> tuple[Tensor, Tensor]:
    # Beyond 0 the exponential is not used; clamping keeps it from overflowing.
    bent = torch.exp(x.clamp(max=0) / CELU_ALPHA)
    return x.clamp(min=0) + CELU_ALPHA * (bent - 1), bent


def _gelu(x: Tensor) -> tuple[Tensor, Tensor]:
    share = 0.5 * (1 + torch.erf(x * math.sqrt(0.5)))
    return x * share, share + x * torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


ACTIVATIONS: dict[str, ActivationPair] = {"silu": _silu, "celu": _celu, "gelu": _gelu}
"""Value and derivative of each activation, both differentiable once more."""


def _silu_curvature(x: Tensor) -> Tensor:
    gate = torch.sigmoid(x)
    return gate * (1 - gate) * (2 + x * (1 - 2 * gate))


def _celu_curvature(x: Tensor) -> Tensor:
    return torch.where(x > 0, 0.0, torch.exp(x.clamp(max=0) / CELU_ALPHA) / CELU_ALPHA)


def _gelu_curvature(x: Tensor) -> Tensor:
    return (2 - x * x) * torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


CURVATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": _silu_curvature,
    "celu": _celu_curvature,
    "gelu": _gelu_curvature,
}
"""Second derivative of each activation."""


@dataclass(frozen=True, eq=False, slots=True)
class ElementOrder:
    """Atoms sorted by element.

    Attributes:
        order: Atoms of the first element, of the second, and so on, (atoms,).
        place: Where each atom is in this order, (atoms,).
        counts: Number of atoms of each element.
    """

    order: Int[Tensor, " atoms"]
    place: Int[Tensor, " atoms"]
    counts: list[int]

    @classmethod
    def of(cls, species_idx: Int[Tensor, " atoms"], n_elements: int) -> "ElementOrder":
        """Sort; this waits for a GPU."""
        order = torch.argsort(species_idx, stable=True)
        counts = torch.bincount(species_idx, minlength=n_elements).tolist()
        return cls(order, torch.argsort(order), counts)


class StackedNetworks(nn.Module):
    """One network for each member and element, layers of all members stacked.

    Parameters have the member as their first dimension, so that one matrix product serves all
    members; elements are walked one by one. The last layer is linear with one output, an energy
    in eV. The input is standardised by buffers that the caller may set; they start as 0 and 1.

    Attributes:
        n_features: Length of the input.
        activation: Name of the activation function.
        n_elements: Number of elements.
        n_members: Number of members.
        n_layers: Number of layers, the last one included; the same for all elements.
        weights: (members, inputs, outputs) of each layer of the first element, of the second, ...
        biases: (members, outputs), in the same order.
        feature_mean: Subtracted from the features, (elements, features).
        feature_scale: Divides the features then, (elements, features).
    """

    feature_mean: Tensor
    feature_scale: Tensor

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        n_elements: int,
        activation: str,
    ) -> None:
        """Take over tensors as parameters; use `initialise` for fresh ones.

        Args:
            weights: (members, inputs, outputs) of each layer of the first element, of the second,
                and so on. The widths of the hidden layers may differ between elements.
            biases: (members, outputs), in the same order.
            n_elements: Number of elements.
            activation: Name of the activation function.

        Raises:
            SettingsError: If the shapes do not make such networks, or there is no such activation.
        """
        super().__init__()
        _check_layers(weights, biases, n_elements)
        if activation not in ACTIVATIONS:
            raise SettingsError(
                f"there is no activation {activation!r}",
                next_step=f"known: {list(ACTIVATIONS)}",
            )
        self.n_layers = len(weights) // n_elements
        self.n_features = weights[0].shape[1]
        self.activation = activation
        self.n_elements = n_elements
        self.n_members = weights[0].shape[0]
        self.weights = nn.ParameterList([nn.Parameter(weight) for weight in weights])
        self.biases = nn.ParameterList([nn.Parameter(bias) for bias in biases])
        shape = (n_elements, self.n_features)
        self.register_buffer("feature_mean", torch.zeros(shape, dtype=weights[0].dtype))
        self.register_buffer("feature_scale", torch.ones(shape, dtype=weights[0].dtype))

    @classmethod
    def initialise(
        cls,
        widths: Sequence[int],
        n_elements: int,
        seeds: Sequence[int],
        *,
        activation: str,
        dtype: torch.dtype,
    ) -> "StackedNetworks":
        """Fresh networks: weights normal with variance 2/in (1/in at the output), biases zero.

        Args:
            widths: Number of features, then widths of the hidden layers.
            n_elements: Number of elements.
            seeds: Seed of each member; nothing else decides its weights.
            activation: Name of the activation function.
            dtype: Floating-point type.
        """
        shapes = list(itertools.pairwise([*widths, 1]))
        weights, biases = [], []
        for element, (layer, (n_in, n_out)) in itertools.product(
            range(n_elements), enumerate(shapes)
        ):
            scale = math.sqrt((1.0 if n_out == 1 else 2.0) / n_in)
            draws = [
                generator(seed, "network", element, layer).standard_normal((n_in, n_out))
                for seed in seeds
            ]
            weights.append(torch.tensor(np.stack(draws) * scale, dtype=dtype))
            biases.append(torch.zeros(len(seeds), n_out, dtype=dtype))
        return cls(weights, biases, n_elements, activation)

    def standardise(
        self,
        mean: Float[Tensor, "elements features"],
        scale: Float[Tensor, "elements features"],
    ) -> None:
        """Set what the features are shifted and divided by.

        Args:
            mean: Typical feature of each element, (elements, features).
            scale: Its typical variation, positive, (elements, features).
        """
        self.feature_mean.copy_(mean)
        self.feature_scale.copy_(scale)

    def forward(
        self,
        features: Float[Tensor, "*members atoms features"],
        species_idx: Int[Tensor, " atoms"],
        order: ElementOrder | None = None,
    ) -> Float[Tensor, "members atoms"]:
        """Atomic energies by each member [eV], without self energies.

        Args:
            features: Descriptor of each atom, (atoms, features), or of each atom for each member,
                (members, atoms, features).
            species_idx: Which element each atom is, (atoms,).
            order: Of `species_idx`, if it is known already.
        """
        place, chunks = self._by_element(features, species_idx, order)
        energies = [self._element_energies(element, part)[0] for element, part in chunks]
        return torch.cat(energies, dim=1)[:, place]

    def energies_and_gradient(
        self,
        features: Float[Tensor, "atoms features"],
        species_idx: Int[Tensor, " atoms"],
        order: ElementOrder | None = None,
    ) -> tuple[Float[Tensor, "members atoms"], Float[Tensor, "members atoms features"]]:
        """Atomic energies by each member [eV], and their gradients in the features.

        Both can be differentiated once more in the parameters, which is what training on
        forces needs; under `torch.no_grad` nothing is kept.

        Args:
            features: Descriptor of each atom, (atoms, features).
            species_idx: Which element each atom is, (atoms,).
            order: Of `species_idx`, if it is known already.
        """
        place, chunks = self._by_element(features, species_idx, order)
        energies, gradients = [], []
        for element, part in chunks:
            energy, slopes = self._element_energies(element, part)
            energies.append(energy)
            gradients.append(self._element_gradient(element, slopes, energy))
        return torch.cat(energies, dim=1)[:, place], torch.cat(gradients, dim=1)[:, place]

    def _by_element(
        self, features: Tensor, species_idx: Tensor, order: ElementOrder | None
    ) -> tuple[Tensor, list[tuple[int, Tensor]]]:
        """Where each atom finds its result, and features of the atoms of each element."""
        if self.n_elements == 1:
            return torch.arange(len(species_idx), device=features.device), [(0, features)]
        order = order or ElementOrder.of(species_idx, self.n_elements)
        parts = torch.split(features[..., order.order, :], order.counts, dim=-2)
        return order.place, list(enumerate(parts))

    def _element_energies(
        self, element: int, features: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Energies (members, atoms) and the derivative of the activation in each hidden layer."""
        act = ACTIVATIONS[self.activation]
        values = (features - self.feature_mean[element]) / self.feature_scale[element]
        values = values.expand(self.n_members, -1, -1)
        first = element * self.n_layers
        slopes = []
        for layer in range(first, first + self.n_layers):
            values = torch.baddbmm(self.biases[layer][:, None], values, self.weights[layer])
            if layer + 1 < first + self.n_layers:
                values, slope = act(values)
                slopes.append(slope)
        return values[..., 0], slopes

    def _element_gradient(
        self, element: int, slopes: list[Tensor], energy: Tensor
    ) -> Tensor:
        first = element * self.n_layers
        gradient: Tensor = self.weights[first + self.n_layers - 1].transpose(1, 2)
        gradient = gradient.expand(-1, energy.shape[1], -1)
        for layer in reversed(range(self.n_layers - 1)):
            gradient = torch.bmm(
                gradient * slopes[layer], self.weights[first + layer].transpose(1, 2)
            )
        return torch.div(gradient, self.feature_scale[element])


def is_foldable(networks: StackedNetworks) -> bool:
    """Whether the compiled kernels know such networks."""
    return (
        networks.activation in {"celu", "silu"}
        and networks.n_layers > 1
        and networks.feature_mean.dtype == torch.float32
        and networks.feature_mean.device.type == "cpu"
    )


def _check_layers(
    weights: Sequence[Tensor], biases: Sequence[Tensor], n_elements: int
) -> None:
    n_layers, rest = divmod(len(weights), max(n_elements, 1))
    if rest or not n_layers or len(biases) != len(weights):
        raise SettingsError(
            f"{len(weights)} weights and {len(biases)} biases do not make networks "
            f"of {n_elements} elements"
        )
    for start in range(0, len(weights), n_layers):
        width = weights[0].shape[1]
        for layer in range(start, start + n_layers):
            members, n_in, n_out = weights[layer].shape
            if (members, n_in) != (len(weights[0]), width) or biases[layer].shape != (
                members,
                n_out,
            ):
                raise SettingsError(
                    f"layer {layer} of stacked networks does not fit the others"
                )
            width = n_out
        if width != 1:
            raise SettingsError("the last layer of stacked networks must have one output")
