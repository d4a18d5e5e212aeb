"""Which implementation of the ANI descriptor does the work, and whether it may.

    device  first       else        else
    cpu     numba       torch
    cuda    triton      compile     torch

`ALFLOW_KERNELS` names another one: what it names is tried, then plain torch. Kernels for GPUs are
compared with the reference on a few atoms before a model relies on them, because they run on cards
and under drivers that nobody has tried; where they differ or do not compile, one warning says so.
"""

import functools
import warnings
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from alflow.core.structures import Structure
from alflow.models.ani.backend import fused_descriptor
from alflow.models.ani.constants import AniConstants
from alflow.models.compiled import SWITCH, chosen_kind
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch, Pairs

if TYPE_CHECKING:
    from alflow.models.ani.descriptor import Described
    from alflow.models.ani.operators import DifferentiableAtoms

TOLERANCE = 1e-4
"""Largest difference to the reference, as a share of its largest number. Rounding is a tenth of
it with narrow functions; a kernel that is wrong is wrong by much more."""
PROBED_MEMBERS = (1, 4, 8)
"""Numbers of members for which there are kernels of their own."""


@runtime_checkable
class FastDescriptor(Protocol):
    """What does the work of the reference faster."""

    n_features: int

    def evaluate(
        self, batch: Batch, pairs: Pairs, species: Int[Tensor, " atoms"]
    ) -> "Described":
        """Descriptor of each atom with what its derivative needs."""
        ...


@runtime_checkable
class Differentiable(FastDescriptor, Protocol):
    """What also has products with the derivative in both directions, for training on forces."""

    def differentiable(
        self, batch: Batch, pairs: Pairs, species: Int[Tensor, " atoms"]
    ) -> "DifferentiableAtoms":
        """A batch whose products with the derivative differentiate into one another."""
        ...


@runtime_checkable
class SumsSystems(FastDescriptor, Protocol):
    """What can also add up the energies of atoms, in an order of its own."""

    def system_energies(
        self, atomic: Float[Tensor, "members atoms"], bounds: Int[Tensor, " bounds"]
    ) -> Float[Tensor, "members systems"]:
        """Sum over the atoms of each system, in float64."""
        ...


def fast_descriptor(
    constants: AniConstants, elements: tuple[int, ...], device: torch.device
) -> FastDescriptor | None:
    """The fastest implementation that works in float32 on a device; None for plain torch.

    Args:
        constants: Where the functions sit.
        elements: Atomic numbers.
        device: Where batches will be.

    Raises:
        SettingsError: If `ALFLOW_KERNELS` names none.
    """
    problems: list[str] = []
    for kind in _candidates(device):
        if kind == "numba" and device.type == "cpu":
            return fused_descriptor(constants, len(elements))
        problem = _problem(kind, constants, elements, str(device))
        if not problem:
            _warn(problems, kind)
            return _made(kind, constants, elements, device)
        problems.append(problem)
    _warn(problems, "torch")
    return None


def _candidates(device: torch.device) -> tuple[str, ...]:
    chosen = chosen_kind()
    if chosen:
        return (chosen,) if chosen != "torch" else ()
    return ("triton", "compile") if device.type == "cuda" else ("numba",)


@functools.cache
def _problem(
    kind: str, constants: AniConstants, elements: tuple[int, ...], device: str
) -> str:
    """Why an implementation cannot be used; empty if it can. Asked once for each model."""
    place = torch.device(device)
    try:
        worst = _difference(kind, constants, elements, place)
    except Exception as error:  # noqa: BLE001 - whatever is broken, torch still works
        told = str(error).strip().splitlines() or [""]
        return f"{kind} ({type(error).__name__}: {told[0]})"
    if worst <= TOLERANCE:
        return ""
    return f"{kind} (it differs from the reference by {worst:.1e} of the largest number)"


def _warn(problems: list[str], used: str) -> None:
    if problems:
        warnings.warn(
            f"ANI potentials cannot be computed with {' nor with '.join(problems)}; {used} does "
            f"it, which is slower. Set {SWITCH}={used} to accept it.",
            RuntimeWarning,
            stacklevel=5,
        )


def _made(
    kind: str, constants: AniConstants, elements: tuple[int, ...], device: torch.device
) -> FastDescriptor:
    if kind == "numba":
        raise ValueError(f"its kernels are for CPUs, and this is {device}")
    if kind == "triton":
        from alflow.models.ani.triton_descriptor import TritonDescriptor

        return TritonDescriptor(constants, len(elements), device)
    from alflow.models.ani.torch_compiled import CompiledDescriptor

    return CompiledDescriptor(constants, elements, device)


def _difference(
    kind: str, constants: AniConstants, elements: tuple[int, ...], device: torch.device
) -> float:
    """Largest difference of features and derivatives to the reference, as a share of both."""
    from alflow.models.ani.descriptor import AniDescriptor

    made = _made(kind, constants, elements, device)
    batch = Batch.from_structures(_probe(elements, constants), device=device)
    pairs = neighbour_pairs(batch, constants.radial_cutoff_A + 0.3)
    reference = AniDescriptor(constants, elements, dtype=torch.float64, device=device)
    expected = reference.evaluate_with_torch(batch, pairs)
    found = made.evaluate(batch, pairs, reference.species(batch.numbers))
    worst = [_share(found.features, expected.features)]
    rng = np.random.default_rng(0)
    for members in PROBED_MEMBERS:
        shape = (members, *expected.features.shape)
        gradient = torch.from_numpy(rng.normal(size=shape)).to(device)
        worst.append(_share(found.vjp(gradient.float()), expected.vjp(gradient)))
    # `max` of Python may pass over what is not a number.
    return float(np.max(worst))


def _share(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6))


def _probe(elements: tuple[int, ...], constants: AniConstants) -> list[Structure]:
    """A molecule and a crystal with a cell smaller than the cutoff, as few atoms as will do."""
    near = 0.55 * constants.angular_cutoff_A
    corners = np.array([[0, 0, 0], [1, 0, 0], [0.1, 0.9, 0], [0, 0.2, 0.8]]) * near
    numbers = np.resize(np.array(elements, np.uint8), 4)
    pair = np.resize(np.array(elements[::-1], np.uint8), 2)
    cell = np.array([[1.25, 0, 0], [0.1, 1.2, 0], [0, -0.1, 1.3]]) * near
    inside = np.array([[0.0, 0, 0], [0.55, 0.45, 0.52]]) @ cell
    return [Structure(numbers, corners), Structure(pair, inside, cell, np.ones(3, bool))]
