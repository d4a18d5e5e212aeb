"""The passes through stacked networks that the gradient of a loss takes, written by hand.

With atomic energies E(x; W), their gradient G = dE/dx in the descriptors x and a loss L(E, G), the
derivative of L in the parameters W is that of

    sum(c E) + sum(u . G)    with c = dL/dE and u = dL/dG held constant,

and u . G is how E changes along u. So four passes are enough: energies, their gradient, the change
of all layers along u, and one backward for both sums at once; nothing is differentiated twice.
What autograd does for the same result takes twice as long, because small networks on few atoms
cost more in bookkeeping than in arithmetic.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alflow.models.ani.network import (
    ACTIVATIONS,
    CURVATURES,
    ElementOrder,
    StackedNetworks,
)


class ElementPasses:
    """The networks of one element, on the atoms of it."""

    def __init__(
        self,
        weights: Sequence[Float[Tensor, "members _ _"]],
        biases: Sequence[Float[Tensor, "members _"]],
        activation: str,
        inputs: Float[Tensor, "atoms features"],
    ) -> None:
        """Take the first pass, to the energies.

        Args:
            weights: Of each layer.
            biases: Of each layer.
            activation: Name of the activation function.
            inputs: Standardised descriptors, (atoms, features).
        """
        self._weights = weights
        self._activation = activation
        self._sums: list[Tensor] = []
        self._slopes: list[Tensor] = []
        self._values = [inputs.expand(len(weights[0]), -1, -1)]
        self._through: list[Tensor] = []
        self._deltas: list[Tensor] = []
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            self._sums.append(torch.baddbmm(bias[:, None], self._values[-1], weight))
            if layer + 1 < len(weights):
                value, slope = ACTIVATIONS[activation](self._sums[-1])
                self._slopes.append(slope)
                self._values.append(value)

    @property
    def energies(self) -> Float[Tensor, "members atoms"]:
        """Energies by each member [eV]."""
        return self._sums[-1][..., 0]

    def gradient(self) -> Float[Tensor, "members atoms features"]:
        """Gradient of the energies in the standardised descriptors."""
        last = self._weights[-1].transpose(1, 2)
        found = last.expand(-1, self.energies.shape[1], -1)
        for slope, weight in zip(
            reversed(self._slopes), reversed(self._weights[:-1]), strict=True
        ):
            self._through.insert(0, found)
            self._deltas.insert(0, found * slope)
            found = torch.bmm(self._deltas[0], weight.transpose(1, 2))
        return found

    def add_up(
        self,
        of_energies: Float[Tensor, "members atoms"],
        tangents: Float[Tensor, "members atoms features"] | None,
        weights: Sequence[Float[Tensor, "members _ _"]],
        biases: Sequence[Float[Tensor, "members _"]],
    ) -> None:
        """Write the derivative of the loss in the parameters.

        Args:
            of_energies: Derivative of the loss in the energies [1/eV], (members, atoms).
            tangents: Derivative of the loss in `gradient()`, which must have been asked for,
                (members, atoms, features); None if the loss does not depend on it.
            weights: Where to write those of each layer.
            biases: Likewise.
        """
        changes, sums = self._changes(tangents)
        back = of_energies[..., None]
        last = len(self._weights) - 1
        for layer in range(last, -1, -1):
            torch.bmm(self._values[layer].transpose(1, 2), back, out=weights[layer])
            torch.sum(back, 1, out=biases[layer])
            if changes:
                # What leaves the last layer is the energy itself.
                delta = self._deltas[layer] if layer < last else torch.ones_like(back)
                weights[layer].baddbmm_(changes[layer].transpose(1, 2), delta)
            if layer:
                back = self._down(layer, back, sums)

    def _changes(self, tangents: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
        """What enters each layer, and what each hidden layer sums up, along the tangents."""
        if tangents is None:
            return [], []
        changes, sums = [tangents], []
        for slope, weight in zip(self._slopes, self._weights[:-1], strict=True):
            sums.append(torch.bmm(changes[-1], weight))
            changes.append(slope * sums[-1])
        return changes, sums

    def _down(self, layer: int, back: Tensor, sums: list[Tensor]) -> Tensor:
        """From the sums of a layer to those of the layer below."""
        below = layer - 1
        found = torch.bmm(back, self._weights[layer].transpose(1, 2))
        found = found.mul_(self._slopes[below])
        if not sums:
            return found
        # The slope of the activation changes along the tangents as well.
        bend = CURVATURES[self._activation](self._sums[below])
        return found.addcmul_(bend.mul_(sums[below]), self._through[below])


class Passes:
    """The networks of all elements, on atoms in any order."""

    def __init__(
        self,
        networks: StackedNetworks,
        features: Float[Tensor, "atoms features"],
        species_idx: Int[Tensor, " atoms"],
    ) -> None:
        """Take the first pass.

        Args:
            networks: Of all elements.
            features: Descriptor of each atom, (atoms, features).
            species_idx: Which element each atom is, (atoms,).
        """
        self._order = ElementOrder.of(species_idx, networks.n_elements)
        self._scales = networks.feature_scale
        self._n_layers = networks.n_layers
        weights = [weight.detach() for weight in networks.weights]
        biases = [bias.detach() for bias in networks.biases]
        self._elements = [
            ElementPasses(
                weights[first : first + networks.n_layers],
                biases[first : first + networks.n_layers],
                networks.activation,
                (part - networks.feature_mean[element]) / networks.feature_scale[element],
            )
            for element, (first, part) in enumerate(
                zip(
                    range(0, len(weights), networks.n_layers),
                    torch.split(features[self._order.order], self._order.counts),
                    strict=True,
                )
            )
        ]

    def energies(self) -> Float[Tensor, "members atoms"]:
        """Atomic energies by each member [eV], without self energies."""
        found = [element.energies for element in self._elements]
        return torch.cat(found, dim=1)[:, self._order.place]

    def gradient(self) -> Float[Tensor, "members atoms features"]:
        """Gradients of the atomic energies in the features."""
        found = [
            torch.div(element.gradient(), self._scales[k])
            for k, element in enumerate(self._elements)
        ]
        return torch.cat(found, dim=1)[:, self._order.place]

    def add_up(
        self,
        of_energies: Float[Tensor, "members atoms"],
        of_gradient: Float[Tensor, "members atoms features"] | None,
        weights: Sequence[Float[Tensor, "members _ _"]],
        biases: Sequence[Float[Tensor, "members _"]],
    ) -> None:
        """Write the derivative of the loss in the parameters.

        Args:
            of_energies: Derivative of the loss in the energies [1/eV], (members, atoms).
            of_gradient: Derivative of the loss in `gradient()`, which must have been asked for,
                (members, atoms, features); None if the loss does not depend on it.
            weights: Where to write those of each layer, as in `StackedNetworks`.
            biases: Likewise.
        """
        energies = self._split(of_energies)
        gradients = (
            [None] * len(energies) if of_gradient is None else self._split(of_gradient)
        )
        for k, element in enumerate(self._elements):
            own = slice(k * self._n_layers, (k + 1) * self._n_layers)
            along = gradients[k]
            tangents = None if along is None else along / self._scales[k]
            element.add_up(energies[k], tangents, weights[own], biases[own])

    def _split(self, of_atoms: Tensor) -> list[Tensor]:
        """Parts of each element."""
        return list(torch.split(of_atoms[:, self._order.order], self._order.counts, dim=1))
