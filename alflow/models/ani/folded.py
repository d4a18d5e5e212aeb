"""Networks as the compiled kernels take them: weights packed, the standardisation folded in."""

import threading
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from alflow.models.ani import network_kernels
from alflow.models.ani.lanes import NATIVE
from alflow.models.ani.network import StackedNetworks
from alflow.models.ani.network_kernels import PANEL, SUPER

KINDS = {"celu": network_kernels.CELU, "silu": network_kernels.SILU}
"""Activations that the kernels know."""


_local = threading.local()


@dataclass(frozen=True, eq=False, slots=True)
class _Element:
    """Networks of one element; see `network_kernels.infer`."""

    widths: list[int]
    forward: Float[np.ndarray, " numbers"]
    bias: Float[np.ndarray, " biases"]
    backward: Float[np.ndarray, " transposed"]


class FoldedNetworks:
    """A copy of the weights of networks for inference; made again when they change."""

    def __init__(self, networks: StackedNetworks) -> None:
        """Fold and pack.

        Args:
            networks: In float32 on a CPU, with an activation among `KINDS`.
        """
        self._kind = KINDS[networks.activation]
        self._n_members = networks.n_members
        self._n_features = networks.n_features
        self._elements = [_folded(networks, e) for e in range(networks.n_elements)]

    def evaluate(
        self,
        features: Float[Tensor, "atoms features"],
        species_idx: Int[Tensor, " atoms"],
        *,
        gradient: bool,
    ) -> tuple[Float[Tensor, "members atoms"], Float[Tensor, "members rows features"]]:
        """Atomic energies by each member [eV], and their gradients in the features or no rows.

        Args:
            features: Descriptor of each atom.
            species_idx: Which element each atom is.
            gradient: Whether gradients are wanted.
        """
        n_atoms = len(features)
        given = np.ascontiguousarray(features.detach().numpy()).reshape(-1)
        species = species_idx.numpy()
        energies = np.empty((self._n_members, n_atoms), np.float32)
        rows = n_atoms if gradient else 0
        slopes = np.empty((self._n_members, rows, self._n_features), np.float32)
        for number, element in enumerate(self._elements):
            chosen = np.flatnonzero(species == number)
            if not len(chosen):
                continue
            planes = len(element.widths) + 1
            scratch = _scratch(planes * SUPER * max(element.widths))
            shape = [self._kind, self._n_members, n_atoms, self._n_features]
            network_kernels.infer(
                0,
                len(chosen),
                chosen,
                given,
                np.array([*shape, *element.widths]),
                element.forward,
                element.bias,
                element.backward,
                *scratch,
                energies.reshape(-1),
                slopes.reshape(-1),
            )
        return torch.from_numpy(energies), torch.from_numpy(slopes)


def _scratch(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of this thread: fresh ones would be faulted in page by page."""
    kept: tuple[np.ndarray, np.ndarray] | None = getattr(_local, "scratch", None)
    if kept is None or len(kept[0]) < size:
        kept = np.zeros(size, np.float32), np.zeros(size, np.float32)
        _local.scratch = kept
    return kept


def _folded(networks: StackedNetworks, element: int) -> _Element:
    """Weights of one element, widths padded to whole panels."""
    first = element * networks.n_layers
    layers = range(first, first + networks.n_layers)
    weights = [networks.weights[n].detach().double() for n in layers]
    biases = [networks.biases[n].detach().double() for n in layers]
    mean, scale = networks.feature_mean[element], networks.feature_scale[element]
    # In float64, so that folding costs no accuracy.
    weights[0] = weights[0] / scale.double()[:, None]
    biases[0] = biases[0] - torch.einsum("f,mfo->mo", mean.double(), weights[0])
    widths = [-(-len(w[0]) // PANEL) * PANEL for w in weights]
    members, n_hidden = networks.n_members, networks.n_layers - 1
    forward, backward, bias = [], [], []
    for n in range(n_hidden):
        wide = np.zeros((members, widths[n], widths[n + 1]), np.float32)
        wide[:, : weights[n].shape[1], : weights[n].shape[2]] = weights[n].numpy()
        forward.append(_packed(wide))
        backward.append(_packed(wide.transpose(0, 2, 1)))
        bias.append(_rows(biases[n], widths[n + 1]))
    forward.append(_rows(weights[-1][..., 0], widths[-1]))
    bias.append(_rows(biases[-1], NATIVE.width))
    none = np.zeros((members, 0), np.float32)
    zeros = np.zeros(max(widths), np.float32)
    return _Element(
        widths,
        np.concatenate(forward, axis=1).reshape(-1),
        np.concatenate([np.concatenate(bias, axis=1).reshape(-1), zeros]),
        np.concatenate([none, *backward[::-1]], axis=1).reshape(-1),
    )


def _rows(values: Tensor, width: int) -> Float[np.ndarray, "members width"]:
    """Rows filled up with zeros."""
    wide = np.zeros((len(values), width), np.float32)
    wide[:, : values.shape[1]] = values.numpy()
    return wide


def _packed(
    matrix: Float[np.ndarray, "members inputs outputs"],
) -> Float[np.ndarray, "members numbers"]:
    """Panels one after the other: all inputs of the first `PANEL` outputs, and so on."""
    members, n_in, n_out = matrix.shape
    panels = matrix.reshape(members, n_in, n_out // PANEL, PANEL).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(panels).reshape(members, -1)
