"""Forces by finite differences on a small fixed recipe, beside an earlier measurement.

64 frames of acetylacetone are one batch. Features of an atom, for each element of its neighbours:
sums over them of 8 Gaussians exp(-3.125 (r - μ)²), μ = 0.8 ... 3.6 Å, with a cosine cutoff at
4.0 Å, and norms √(1e-6 + |Σ g r̂|²) of the same with directions; not scaled. Networks 64-64 with
CELU, one for each element, as torch initialises them. The loss is the mean of (ΔE/N)² plus the
mean of |ΔF|² over atoms, in eV and Å, energies less those of isolated atoms. The error of its
gradient is a share of the norm of the exact one (float64, twice backwards).
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from alflow.core.datasets import LabelledStructure

REFERENCE = {
    "float64": {1e-1: 9.5e-3, 1e-2: 1.8e-4, 1e-3: 5.0e-5, 1e-4: 7.7e-6},
    "float32": {
        1e-1: 9.5e-3,
        1e-2: 1.8e-4,
        3e-3: 1.0e-4,
        1e-3: 8.9e-5,
        1e-4: 9.3e-4,
        1e-5: 7.7e-3,
    },
}
"""Error by precision and step [Å] of an earlier measurement, of which only molecule, batch and
steps are on record; of the recipes that were tried, this one comes closest."""

_CENTRES_A = torch.arange(0.8, 3.61, 0.4, dtype=torch.float64)
_WIDTH_PER_A2 = 3.125
_CUTOFF_A = 4.0
_SMALLEST_SQUARE = 1e-6
_HIDDEN = 64


@dataclass(frozen=True)
class Frames:
    """Frames of one molecule: positions [Å], energies [eV] less those of atoms, forces [eV/Å]."""

    numbers: np.ndarray
    positions: torch.Tensor
    energies: torch.Tensor
    forces: torch.Tensor

    @classmethod
    def of(
        cls, data: Sequence[LabelledStructure], atoms: Sequence[LabelledStructure]
    ) -> "Frames":
        """Frames with labels, and the isolated atoms of the same method."""
        own = {int(one.structure.numbers[0]): one.label.energy for one in atoms}
        numbers = data[0].structure.numbers
        if any((one.structure.numbers != numbers).any() for one in data):
            raise SystemExit("the frames are not of one molecule")
        free = sum(own[int(z)] for z in numbers)
        return cls(
            numbers,
            torch.tensor(np.stack([one.structure.positions for one in data])),
            torch.tensor([one.label.energy - free for one in data], dtype=torch.float64),
            torch.tensor(np.stack([one.label.forces for one in data])),
        )

    def to(self, dtype: torch.dtype) -> "Frames":
        """The same in another precision."""
        values = (one.to(dtype) for one in (self.positions, self.energies, self.forces))
        return Frames(self.numbers, *values)


class RecipeModel(nn.Module):
    """Energies of one molecule in many positions."""

    def __init__(self, numbers: np.ndarray, seed: int) -> None:
        """Draw the weights, in float64."""
        super().__init__()
        elements = sorted({int(z) for z in numbers})
        kinds = torch.tensor([elements.index(int(z)) for z in numbers])
        count = range(len(numbers))
        self._others = torch.tensor([[j for j in count if j != i] for i in count])
        one_hot = nn.functional.one_hot(kinds, len(elements)).double()
        self.register_buffer("kind_of_other", one_hot[self._others])
        self.register_buffer("centres", _CENTRES_A)
        self._atoms = [(kinds == k).nonzero()[:, 0] for k in range(len(elements))]
        torch.manual_seed(seed)
        n_features = 2 * len(elements) * len(_CENTRES_A)
        self._networks = nn.ModuleList(_network(n_features) for _ in elements).double()

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """Energies [eV] at positions [Å]."""
        features = self._features(positions)
        pairs = zip(self._networks, self._atoms, strict=True)
        parts = [network(features[:, atoms]).sum((1, 2)) for network, atoms in pairs]
        return torch.stack(parts).sum(0)

    def _features(self, positions: torch.Tensor) -> torch.Tensor:
        vectors = positions[:, self._others] - positions[:, :, None]
        r = vectors.norm(dim=-1)
        cutoff = torch.where(
            r < _CUTOFF_A, 0.5 + 0.5 * torch.cos(math.pi * r / _CUTOFF_A), 0
        )
        bumps = torch.exp(-_WIDTH_PER_A2 * (r[..., None] - self.centres) ** 2)
        bumps = bumps * cutoff[..., None]
        sums = torch.einsum("bijk,ije->biek", bumps, self.kind_of_other)
        directions = vectors / r[..., None]
        along = torch.einsum("bijk,ije,bijx->biekx", bumps, self.kind_of_other, directions)
        norms = (along.square().sum(-1) + _SMALLEST_SQUARE).sqrt()
        return torch.cat([sums.flatten(2), norms.flatten(2)], 2)


def gradient(model: RecipeModel, frames: Frames, step_A: float | None) -> torch.Tensor:
    """Derivative of the loss in all parameters; without a step exact, by differentiating twice.

    The step is how far the atom of a frame that moves most is moved.
    """
    positions = frames.positions.clone().requires_grad_()
    n_atoms, energies = len(frames.numbers), model(positions)
    (slope,) = torch.autograd.grad(
        energies.sum(), positions, create_graph=step_A is None, retain_graph=True
    )
    wrong = -slope - frames.forces
    loss = ((energies - frames.energies) / n_atoms).square().mean()
    if step_A is None:
        loss = loss + wrong.square().sum(-1).mean()
    else:
        scale = step_A / wrong.norm(dim=-1).amax(1)
        moves = scale[:, None, None] * wrong
        ends = model(torch.cat([frames.positions + moves, frames.positions - moves]))
        ahead, behind = ends.chunk(2)
        loss = loss - ((ahead - behind) / scale).mean() / n_atoms
    parts = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([part.flatten() for part in parts]).double()


def recipe_errors(frames: Frames, seed: int) -> dict[str, float]:
    """Error for each precision and step of the reference, by `precision/step`."""
    model = RecipeModel(frames.numbers, seed)
    exact = gradient(model, frames, None)
    found = {}
    for name, steps in REFERENCE.items():
        dtype = getattr(torch, name)
        one, there = copy.deepcopy(model).to(dtype), frames.to(dtype)
        for step_A in steps:
            error = (gradient(one, there, step_A) - exact).norm() / exact.norm()
            found[f"{name}/{step_A:g}"] = float(error)
    return found


def recipe_table(frames: Frames, n_seeds: int) -> dict[str, dict[str, float]]:
    """Measure and print; reference, geometric mean and range over seeds, by `precision/step`."""
    by_seed = [recipe_errors(frames, seed) for seed in range(n_seeds)]
    heads = ("reference", "mean", "lowest", "highest")
    print(f"\nrecipe, {n_seeds} seeds    " + "".join(f"{head:>12s}" for head in heads))
    table = {}
    for name, steps in REFERENCE.items():
        for step_A, reference in steps.items():
            key = f"{name}/{step_A:g}"
            errors = np.array([one[key] for one in by_seed])
            mean = float(np.exp(np.log(errors).mean()))
            row = (reference, mean, float(errors.min()), float(errors.max()))
            table[key] = dict(zip(heads, row, strict=True))
            print(f"{name}  {step_A:<7g} Å  " + "".join(f"{one:12.1e}" for one in row))
    return table


def _network(n_features: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_features, _HIDDEN),
        nn.CELU(),
        nn.Linear(_HIDDEN, _HIDDEN),
        nn.CELU(),
        nn.Linear(_HIDDEN, 1),
    )
