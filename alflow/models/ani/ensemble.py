"""An ensemble of ANI potentials: one descriptor, stacked networks, self energies."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alflow.core.elements import SYMBOLS, atomic_number
from alflow.core.errors import SettingsError
from alflow.core.seeds import child_seed
from alflow.models.ani.choice import SumsSystems
from alflow.models.ani.descriptor import AniDescriptor, Described
from alflow.models.ani.files import AniFile
from alflow.models.ani.network import ElementOrder, StackedNetworks, is_foldable
from alflow.models.ani.recent import Recent
from alflow.models.ani.settings import AniSettings
from alflow.models.potential import Batch, Evaluation, Forces, Pairs
from alflow.models.repulsion import Repulsion, repulsion

if TYPE_CHECKING:
    from alflow.models.ani.folded import FoldedNetworks


@dataclass(frozen=True, eq=False, slots=True)
class Composition:
    """What follows from the elements of a batch alone.

    Attributes:
        species: Element of each atom, (atoms,).
        order: Atoms sorted by element.
        bounds: First atom of each system, and the end, (systems + 1,).
        counts: Number of atoms of each element in each system, (systems, elements).
    """

    species: Int[Tensor, " atoms"]
    order: ElementOrder
    bounds: Int[Tensor, " bounds"]
    counts: Float[Tensor, "systems elements"]


class AniEnsemble:
    """Members that share a descriptor; implements `alflow.models.potential.Potential`.

    Attributes:
        descriptor: What the networks see.
        networks: Networks of all members and elements.
        self_energies: Energy [eV] that each atom of an element adds, by atomic number.
        repulsion: What nuclei add, of all members the same; None for nothing.
        metadata: What was given to `to_bytes`, after `from_bytes`.
        n_members: Number of members.
        cutoff_A: Reach [Å].
        elements: Atomic numbers it knows.
        dtype: Floating-point type of its arithmetic.
        device: Where it computes.
    """

    def __init__(
        self,
        descriptor: AniDescriptor,
        networks: StackedNetworks,
        self_energies: Mapping[int, float],
        repulsion: Repulsion | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            descriptor: What the networks see.
            networks: Networks of all members and elements.
            self_energies: Energy [eV] that each atom of an element adds, by atomic number.
            repulsion: What nuclei add, of all members the same; None for nothing.
        """
        self.repulsion = repulsion
        self.descriptor = descriptor
        self.networks = networks
        self.self_energies = {
            z: float(self_energies.get(z, 0.0)) for z in descriptor.elements
        }
        self.metadata: dict[str, str] = {}
        self._folded: tuple[list[tuple[int, int, int]], FoldedNetworks] | None = None
        self._composition: Recent[Composition] = Recent()
        self._own: tuple[tuple[float, ...], Tensor] | None = None
        self.n_members = networks.n_members
        self.cutoff_A = descriptor.cutoff_A
        self.elements = descriptor.elements
        self.dtype = descriptor.dtype
        self.device = descriptor.device

    def evaluate(
        self, batch: Batch, pairs: Pairs, *, forces: Forces = "mean"
    ) -> Evaluation:
        """Energies of all members and the forces asked for.

        A system with a coordinate that is not finite has energies and forces that are NaN.

        Args:
            batch: Systems.
            pairs: Neighbour list that may reach beyond the cutoff.
            forces: None, their mean over members, or each member's.

        Raises:
            SettingsError: If there is an element that the ensemble does not know.
        """
        with torch.no_grad():
            composition = self._composition.get(
                (batch.numbers, batch.system_idx), lambda: self._composed(batch)
            )
            state = self.descriptor.evaluate(batch, pairs)
            broken = ~batch.is_finite
            atomic, gradient = self._infer(
                state.features, composition, gradient=forces != "none"
            )
            energies = self._energies(batch, atomic, composition)
            repelled = None
            if self.repulsion is not None:
                repelled = self.repulsion.evaluate(batch, pairs)
            if repelled is not None:
                energies += repelled.energies
            energies = energies.masked_fill_(broken, torch.nan)
            if forces == "none":
                return Evaluation(energies)
            wanted = gradient.mean(0, keepdim=True) if forces == "mean" else gradient
            found = self._forces(batch, state, wanted, broken)
            if repelled is not None:
                found += repelled.forces.to(found.dtype)
            if forces == "mean":
                return Evaluation(energies, forces=found[0])
            return Evaluation(energies, member_forces=found)

    def fingerprint(self, batch: Batch, pairs: Pairs) -> Float[Tensor, "systems features"]:
        """Mean descriptor of the atoms of each element, one after the other.

        It does not change when a cell is repeated. Elements that are absent contribute zeros.

        Args:
            batch: Systems.
            pairs: Neighbour list that may reach beyond the cutoff.
        """
        with torch.no_grad():
            n_elements = len(self.elements)
            state = self.descriptor.evaluate(batch, pairs)
            group = batch.system_idx * n_elements + self.descriptor.species(batch.numbers)
            n_groups = batch.n_systems * n_elements
            total = state.features.new_zeros(n_groups, self.descriptor.n_features)
            total.index_add_(0, group, state.features)
            total /= torch.bincount(group, minlength=n_groups).clamp(min=1)[:, None]
            fingerprint = total.view(batch.n_systems, -1)
            fingerprint[~batch.is_finite] = torch.nan
            return fingerprint

    def to(self, device: torch.device | str) -> "AniEnsemble":
        """The same ensemble on another device; this one if it is there already."""
        if torch.device(device) == self.device:
            return self
        old = self.descriptor
        descriptor = AniDescriptor(
            old.constants, old.elements, dtype=old.dtype, device=device
        )
        networks = copy.deepcopy(self.networks).to(device)
        moved = AniEnsemble(descriptor, networks, self.self_energies, self.repulsion)
        moved.metadata = dict(self.metadata)
        return moved

    def to_bytes(self, metadata: Mapping[str, str] | None = None) -> bytes:
        """Bytes of a safetensors file; equal ensembles and metadata give equal bytes.

        Args:
            metadata: What else its header should say, for example a digest of the training set.
        """
        return AniFile(
            self.descriptor.constants,
            self.elements,
            self.networks,
            self.self_energies,
            dict(metadata or {}),
            self.repulsion,
        ).to_bytes()

    @classmethod
    def from_bytes(cls, content: bytes) -> "AniEnsemble":
        """The inverse of `to_bytes`.

        Raises:
            SettingsError: If the bytes are malformed, of another family or of a newer format.
        """
        file = AniFile.from_bytes(content)
        dtype = file.networks.feature_mean.dtype
        descriptor = AniDescriptor(file.constants, file.elements, dtype=dtype)
        ensemble = cls(descriptor, file.networks, file.self_energies, file.repulsion)
        ensemble.metadata = file.metadata
        return ensemble

    def _infer(
        self, features: Tensor, composition: Composition, *, gradient: bool
    ) -> tuple[Tensor, Tensor]:
        """Atomic energies of the members, and their gradients in the features if wanted."""
        species, order = composition.species, composition.order
        if self.descriptor.fused() is not None and is_foldable(self.networks):
            from alflow.models.ani.folded import FoldedNetworks

            state = [*self.networks.parameters(), *self.networks.buffers()]
            seen = [(id(t), t.data_ptr(), t._version) for t in state]  # noqa: SLF001
            if self._folded is None or self._folded[0] != seen:
                self._folded = seen, FoldedNetworks(self.networks)
            return self._folded[1].evaluate(features, species, gradient=gradient)
        if gradient:
            return self.networks.energies_and_gradient(features, species, order)
        atomic = self.networks(features, species, order)
        return atomic, atomic.new_empty(self.n_members, 0, features.shape[1])

    def _composed(self, batch: Batch) -> Composition:
        species = self.descriptor.species(batch.numbers)
        n_elements = len(self.elements)
        counts = torch.zeros(
            batch.n_systems, n_elements, dtype=torch.float64, device=self.device
        )
        ones = torch.ones_like(species, dtype=torch.float64)
        counts.index_put_((batch.system_idx, species), ones, accumulate=True)
        systems = torch.arange(batch.n_systems + 1, device=self.device)
        bounds = torch.searchsorted(batch.system_idx, systems)
        order = ElementOrder.of(species, n_elements)
        return Composition(species, order, bounds, counts)

    def _own_eV(self) -> Float[Tensor, " elements"]:
        """Self energies in the order of `elements`, sent to the device when they change."""
        values = tuple(self.self_energies[z] for z in self.elements)
        if self._own is None or self._own[0] != values:
            sent = torch.tensor(values, dtype=torch.float64, device=self.device)
            self._own = values, sent
        return self._own[1]

    def _energies(
        self,
        batch: Batch,
        atomic: Float[Tensor, "members atoms"],
        composition: Composition,
    ) -> Float[Tensor, "members systems"]:
        # Self energies are large: they are added to the sums, not to each atom's small number.
        own_eV = composition.counts @ self._own_eV()
        fast = self.descriptor.fused()
        if isinstance(fast, SumsSystems):
            return fast.system_energies(atomic, composition.bounds).add_(own_eV)
        energies = torch.zeros(
            self.n_members, batch.n_systems, dtype=torch.float64, device=self.device
        )
        energies.index_add_(1, batch.system_idx, atomic.to(torch.float64))
        return energies.add_(own_eV)

    @staticmethod
    def _forces(
        batch: Batch, state: Described, gradient: Tensor, broken: Tensor
    ) -> Float[Tensor, "members atoms 3"]:
        forces = state.vjp(gradient).neg_().to(batch.positions.dtype)
        return forces.masked_fill_(broken[batch.system_idx, None], torch.nan)


def fresh_ensemble(
    settings: AniSettings, elements: Sequence[int], seed: int
) -> AniEnsemble:
    """An ensemble with initial weights and self energies of zero.

    Args:
        settings: What to build.
        elements: Atomic numbers.
        seed: Member m depends on `child_seed(seed, "member", m)` and nothing else.

    Raises:
        SettingsError: If pretrained weights fix the shape and lack an element.
    """
    given = settings.pretrained
    known = tuple(sorted({int(z) for z in elements}))
    if given is not None:
        if strange := sorted({SYMBOLS[z] for z in known} - set(given.elements)):
            raise SettingsError(
                f"the pretrained weights do not know {', '.join(strange)}; "
                f"they know {', '.join(given.elements)}"
            )
        # The order of the file, which is that of everything that was trained from it.
        order = [atomic_number(symbol) for symbol in given.elements]
        known = tuple(sorted(known, key=order.index))
    precision = settings.dtype if given is None else given.dtype
    dtype = torch.float32 if precision == "float32" else torch.float64
    descriptor = AniDescriptor(settings.constants(), known, dtype=dtype)
    networks = StackedNetworks.initialise_each(
        [
            (
                descriptor.n_features,
                *(settings.hidden if given is None else given.hidden[SYMBOLS[z]]),
            )
            for z in known
        ],
        [child_seed(seed, "member", member) for member in range(settings.members)],
        activation=settings.activation if given is None else given.activation,
        dtype=dtype,
    )
    name = settings.repulsion if given is None else given.repulsion
    return AniEnsemble(descriptor, networks, {}, repulsion(name))
