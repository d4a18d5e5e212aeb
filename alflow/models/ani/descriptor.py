"""The ANI descriptor of a batch, its gradients by hand, and by autograd as the oracle."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.models.ani.choice import FastDescriptor, fast_descriptor
from alflow.models.ani.constants import AniConstants
from alflow.models.ani.jacobian import dense_jacobians, strain_jacobians
from alflow.models.ani.recent import Recent
from alflow.models.ani.spokes import Spokes, cutoff
from alflow.models.ani.terms import (
    COSINE_PREFACTOR,
    AngularSpokes,
    Basis,
    TripleTerms,
)
from alflow.models.ani.triples import UnorderedTriples
from alflow.models.potential import Batch, Pairs

CHUNK_SLOTS = 16384
"""Triples that are worked on at a time: their arrays should stay in the processor's cache."""
CHUNK_SPOKES = 4096
"""Spokes that are worked on at a time, for the same reason."""
GPU_CHUNKS = 32
"""So many times as many on a GPU, whose cores must be filled."""


@runtime_checkable
class Described(Protocol):
    """Features of a batch with their derivative."""

    @property
    def features(self) -> Float[Tensor, "atoms features"]:
        """Descriptor of each atom, (atoms, features)."""
        ...

    def vjp(
        self, gradient: Float[Tensor, "members atoms features"]
    ) -> Float[Tensor, "members atoms 3"]:
        """Gradient of the sum of `gradient * features` in the positions; forces are minus this."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class DescriptorState:
    """Features of a batch with what their derivative needs.

    Attributes:
        features: Descriptor of each atom, (atoms, features).
        basis: The symmetry functions.
        n_elements: Number of elements.
        spokes: All vectors in reach.
        angular: Those within the angular cutoff.
        terms: What triples contribute, chunk by chunk.
    """

    features: Float[Tensor, "atoms features"]
    basis: Basis
    n_elements: int
    spokes: Spokes
    angular: AngularSpokes
    terms: list[TripleTerms]

    def vjp(
        self, gradient: Float[Tensor, "members atoms features"]
    ) -> Float[Tensor, "members atoms 3"]:
        """Gradient of the sum of `gradient * features` in the positions; forces are minus this.

        Args:
            gradient: Derivative of each member's energy in the features [eV],
                (members, atoms, features).
        """
        members, n_atoms, _ = gradient.shape
        split = self.n_elements * len(self.basis.radial_shifts)
        pull = self._radial_pull(gradient[..., :split])
        turn = self._angular_pull(gradient[..., split:])
        pull.index_add_(2, self.angular.index, turn)
        flat = pull.view(members * 3, len(self.spokes))
        total = flat.new_zeros(members * 3, n_atoms)
        total.index_add_(1, self.spokes.neighbour, flat)
        total.index_add_(1, self.spokes.centre, flat, alpha=-1)
        return total.view(members, 3, n_atoms).transpose(1, 2).contiguous()

    def _radial_pull(self, gradient: Tensor) -> Tensor:
        """Gradient in each spoke's vector through the radial part, (members, 3, spokes)."""
        members, n_radial = len(gradient), len(self.basis.radial_shifts)
        gradient = gradient.reshape(members, -1, n_radial)
        pull = gradient.new_empty(members, len(self.spokes))
        for start, part in _parts(self.spokes):
            slope = self.basis.radial_slope(part)
            torch.sum(
                gradient[:, part.group] * slope, 2, out=pull[:, start : start + len(part)]
            )
        units = self.spokes.vectors.T.contiguous() / self.spokes.distances
        return pull[:, None] * units

    def _angular_pull(self, gradient: Tensor) -> Tensor:
        """Gradient in each inner spoke's vector through the angular part, (members, 3, inner)."""
        members = len(gradient)
        n_shells, n_sections = len(self.basis.shells), len(self.basis.half_cos)
        # Sections before shells: the products below then sum over the longer of the two.
        rows = gradient.reshape(members, -1, n_shells, n_sections).permute(1, 0, 3, 2)
        rows = rows.reshape(rows.shape[0], members * n_sections, n_shells)
        sums = gradient.new_zeros(members * 4, len(self.angular.index))
        for terms in self.terms:
            _add_angular(sums, rows, terms, self.basis.constants.angular_eta)
        sums = sums.view(members, 4, -1)
        units, turn = self.angular.units, sums[:, 1:]
        # Only what is perpendicular to a spoke turns it.
        along = (turn * units).sum(1, keepdim=True)
        return (turn - along * units) / self.angular.distances + sums[:, :1] * units


def _parts(spokes: Spokes) -> Iterator[tuple[int, Spokes]]:
    """Chunks of spokes, and where each starts."""
    step = _chunk(CHUNK_SPOKES, spokes.vectors.device)
    for start in range(0, len(spokes), step):
        yield start, spokes.part(slice(start, start + step))


def _chunk(length: int, device: torch.device) -> int:
    return length if device.type == "cpu" else GPU_CHUNKS * length


def _add_angular(sums: Tensor, gradient: Tensor, terms: TripleTerms, eta: float) -> None:
    """Add what some triples do to their spokes.

    Args:
        sums: For each member the pull along the spoke and the vector that turns it, row by row,
            (4 members, inner).
        gradient: Of each group, (groups, members * sections, shells).
        terms: The triples.
        eta: Exponent of the shells.
    """
    slots = terms.slots
    members = len(sums) // 4
    n_rows, width = slots.p.shape
    shape = (n_rows, members, -1, width)
    weights = gradient.index_select(0, slots.group)
    by_shell = torch.bmm(weights, terms.shell).view(shape)
    by_moment = torch.bmm(weights, terms.shell_moment).view(shape)
    section = terms.section[:, None]
    # Half, because the mean distance moves half as far as either neighbour; -2 eta: a Gaussian.
    stretch = by_moment.mul_(section).sum(2).transpose(0, 1) * (-eta * terms.weight)
    turn = (by_shell * terms.section_slope[:, None]).sum(2).transpose(0, 1) * terms.weight
    value = by_shell.mul_(section).sum(2).transpose(0, 1)
    for spoke, other_units, weight_slope in (
        (slots.p, terms.units_q, terms.weight_slope_p),
        (slots.q, terms.units_p, terms.weight_slope_q),
    ):
        parts = stretch.new_empty(members, 4, n_rows, width)
        torch.addcmul(stretch, value, weight_slope, out=parts[:, 0])
        torch.mul(turn[:, None], other_units, out=parts[:, 1:])
        sums.index_add_(1, spoke.flatten(), parts.view(members * 4, -1))


class AniDescriptor:
    """Radial and angular symmetry functions, channels in the order of NeuroChem and torchani.

    Attributes:
        constants: Where the functions sit and how wide they are.
        elements: Atomic numbers, in the order of the channels.
        n_features: Length of the descriptor of one atom.
        cutoff_A: Reach [Å].
        dtype: Floating-point type of the arithmetic.
        device: Where it computes.
    """

    def __init__(
        self,
        constants: AniConstants,
        elements: tuple[int, ...],
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        basis: type[Basis] = Basis,
    ) -> None:
        """Prepare the constants; `basis` evaluates the functions.

        Raises:
            SettingsError: If there is no element, or one twice.
        """
        if not elements or len(set(elements)) != len(elements):
            raise SettingsError(
                f"an ANI descriptor needs different elements, not {elements}"
            )
        if not all(0 < z < len(SYMBOLS) for z in elements):
            raise SettingsError(
                f"an ANI descriptor got an impossible atomic number: {elements}"
            )
        self.constants = constants
        self.elements = elements
        self.n_features = constants.n_features(len(elements))
        self.cutoff_A = constants.radial_cutoff_A
        self.dtype = dtype
        self.device = torch.device(device)
        self._basis = basis.of(constants, dtype, device)
        self._species = torch.full((len(SYMBOLS),), -1, dtype=torch.long, device=device)
        self._species[list(elements)] = torch.arange(len(elements), device=device)
        self._is_undecided = dtype == torch.float32
        self._fused: FastDescriptor | None = None
        self._known: Recent[Tensor] = Recent()

    @property
    def row_width(self) -> int:
        """Slots in a row of triples: about the size of a group."""
        return 32 if len(self.elements) == 1 else 16

    def species(self, numbers: Int[Tensor, " atoms"]) -> Int[Tensor, " atoms"]:
        """Index into `elements` of each atom.

        Raises:
            SettingsError: If an element is not among them.
        """
        return self._known.get((numbers,), lambda: self._looked_up(numbers))

    def _looked_up(self, numbers: Tensor) -> Tensor:
        species = self._species[numbers]
        unknown = numbers[species < 0]
        if len(unknown):
            names = ", ".join(SYMBOLS[z] for z in sorted(set(unknown.tolist())))
            known = ", ".join(SYMBOLS[z] for z in self.elements)
            raise SettingsError(f"the potential does not know {names}; it knows {known}")
        return species

    def spokes(self, batch: Batch, pairs: Pairs) -> Spokes:
        """Vectors to the neighbours of each atom that are in reach."""
        return Spokes.within(
            batch,
            pairs,
            self.species(batch.numbers),
            len(self.elements),
            self.cutoff_A,
            self.dtype,
        )

    def features(self, batch: Batch, pairs: Pairs) -> Float[Tensor, "atoms features"]:
        """Descriptor of each atom, written as in the paper, differentiable by autograd.

        This is the oracle of everything below, and it is slow.

        Args:
            batch: Systems; gradients reach its positions and cells.
            pairs: Neighbour list that may reach further.
        """
        c, basis, n_elements = self.constants, self._basis, len(self.elements)
        spokes = self.spokes(batch, pairs)
        radial = self._zeros(batch.n_atoms * n_elements, len(c.radial_shifts))
        radial = radial.index_add(0, spokes.group, basis.radial(spokes))
        inner = spokes.inner(c.angular_cutoff_A, n_elements)
        near = spokes.part(inner)
        counts = torch.bincount(near.group, minlength=batch.n_atoms * n_elements)
        triples = UnorderedTriples(counts.view(-1, n_elements), 1)
        slots = triples.slots(slice(0, len(triples)))
        p, q = near.part(slots.p[:, 0]), near.part(slots.q[:, 0])
        cosine = (p.vectors * q.vectors).sum(1) / (p.distances * q.distances)
        angle = torch.acos(COSINE_PREFACTOR * cosine)
        centres = torch.atan2(basis.half_sin, basis.half_cos)[:, 0]
        section = 2 * ((1 + torch.cos(angle[:, None] - centres)) / 2) ** c.zeta
        mean = (p.distances + q.distances) / 2
        shell = torch.exp(-c.angular_eta * (mean[:, None] - basis.shells[:, 0]) ** 2)
        reach = c.angular_cutoff_A
        fade = cutoff(p.distances, reach) * cutoff(q.distances, reach)
        terms = ((shell * fade[:, None])[:, :, None] * section[:, None, :]).flatten(1)
        angular = self._zeros(batch.n_atoms * self._n_element_pairs, terms.shape[1])
        angular = angular.index_add(0, slots.group, terms)
        return self._joined(radial, angular, batch.n_atoms)

    def evaluate(self, batch: Batch, pairs: Pairs) -> Described:
        """Descriptor of each atom with what `vjp` needs; leaves no autograd graph.

        In float32 the fastest implementation that works on the device does it.

        Args:
            batch: Systems.
            pairs: Neighbour list that may reach further.
        """
        fast = self.fused()
        if fast is None:
            return self.evaluate_with_torch(batch, pairs)
        return fast.evaluate(batch, pairs, self.species(batch.numbers))

    def fused(self) -> FastDescriptor | None:
        """What does the work of this reference in float32; None where it does it itself."""
        if self._is_undecided:
            self._fused = fast_descriptor(self.constants, self.elements, self.device)
            self._is_undecided = False
        return self._fused

    def evaluate_with_torch(self, batch: Batch, pairs: Pairs) -> DescriptorState:
        """What `evaluate` does, on torch: in any precision, on any device.

        Args:
            batch: Systems.
            pairs: Neighbour list that may reach further.
        """
        with torch.no_grad():
            n_elements = len(self.elements)
            spokes = self.spokes(batch, pairs)
            radial = self._zeros(batch.n_atoms * n_elements, len(self._basis.radial_shifts))
            for _, part in _parts(spokes):
                radial.index_add_(0, part.group, self._basis.radial(part))
            near = AngularSpokes.of(spokes, self.constants.angular_cutoff_A, n_elements)
            triples = UnorderedTriples(
                near.counts(batch.n_atoms, n_elements), self.row_width
            )
            angular = self._zeros(
                batch.n_atoms * self._n_element_pairs,
                len(self._basis.shells) * len(self._basis.half_cos),
            )
            terms = []
            step = _chunk(CHUNK_SLOTS, self.device) // self.row_width
            for start in range(0, len(triples), step):
                slots = triples.slots(slice(start, start + step))
                terms.append(TripleTerms.of(self._basis, near, slots))
                angular.index_add_(0, slots.group, terms[-1].features().flatten(1))
            features = self._joined(radial, angular, batch.n_atoms)
            return DescriptorState(features, self._basis, n_elements, spokes, near, terms)

    def features_and_jacobian(
        self, batch: Batch, pairs: Pairs
    ) -> list[tuple[Float[Tensor, "atoms features"], Float[Tensor, "rows columns"]]]:
        """Descriptor of each structure and its dense derivative in the positions.

        Args:
            batch: Systems.
            pairs: Neighbour list that may reach further.

        Returns:
            For each structure the features A, (n, F), and J, (n F, 3 n), with
            J[a F + f, 3 b + x] the derivative of A[a, f] in coordinate x of atom b [1/Å].
        """
        with torch.no_grad():
            state = self.evaluate_with_torch(batch, pairs)
            jacobians = dense_jacobians(
                self._basis,
                state.spokes,
                state.angular,
                batch,
                len(self.elements),
                self.row_width,
            )
            features = torch.split(state.features, batch.atoms_per_system.tolist())
            return list(zip(features, jacobians, strict=True))

    def strain_jacobians(self, batch: Batch, pairs: Pairs) -> list[Float[Tensor, "rows 6"]]:
        """Derivative of the descriptor of each structure in a homogeneous strain.

        Args:
            batch: Systems.
            pairs: Neighbour list that may reach further.

        Returns:
            For each structure J, (n F, 6), with J[a F + f, k] the derivative of feature f of atom
            a in component k of the strain, in the order of Voigt.
        """
        with torch.no_grad():
            state = self.evaluate_with_torch(batch, pairs)
            return strain_jacobians(
                self._basis,
                state.spokes,
                state.angular,
                batch,
                len(self.elements),
                self.row_width,
            )

    @property
    def _n_element_pairs(self) -> int:
        return len(self.elements) * (len(self.elements) + 1) // 2

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(*shape, dtype=self.dtype, device=self.device)

    @staticmethod
    def _joined(radial: Tensor, angular: Tensor, n_atoms: int) -> Tensor:
        return torch.cat([radial.view(n_atoms, -1), angular.view(n_atoms, -1)], dim=1)
