"""Uncertainty-driven dynamics: a bounded bias that draws replicas to where members disagree.

Kulichenko et al., Nat. Comput. Sci. 3, 230 (2023). With the energy spread u of a replica, the
population standard deviation over members divided by the square root of the number of atoms, the
bias energy is

    height [exp(-u² / (2 width²)) - 1]

It is zero where the members agree and falls to -height where they disagree, so that its force
leads towards a larger spread; it is strongest at u = width. In the words of the paper
u² / 2 = sigma_E² / (N_M N_A), A is the height and B the width. Its force needs nothing but the
forces of the members, since the gradient of u² is a sum of them.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from alflow.md.spread import member_forces, member_mean
from alflow.models.potential import Batch, Evaluation, Forces, Pairs, Potential


@dataclass(frozen=True, slots=True)
class Bias:
    """Strength of the bias.

    Attributes:
        height_eV: Largest energy that a replica can gain [eV], whatever its size.
        width_eV: Energy spread over the square root of the number of atoms at which the force is
            largest [eV].
    """

    height_eV: float
    width_eV: float

    def energy(
        self, energies: Float[Tensor, "members systems"], n_atoms: Float[Tensor, " systems"]
    ) -> Float[Tensor, " systems"]:
        """Bias energy of each replica [eV], between -height and 0."""
        return self.height_eV * torch.expm1(-0.5 * self._reduced(energies, n_atoms))

    def weights(
        self, energies: Float[Tensor, "members systems"], n_atoms: Float[Tensor, " systems"]
    ) -> Float[Tensor, "members systems"]:
        """What to multiply the forces of the members with to get, added up, the bias force."""
        reduced = self._reduced(energies, n_atoms)
        strength = self.height_eV * torch.exp(-0.5 * reduced) / (self.width_eV**2 * n_atoms)
        deviations = energies - member_mean(energies)
        return -deviations * strength / len(energies)

    def _reduced(
        self, energies: Float[Tensor, "members systems"], n_atoms: Float[Tensor, " systems"]
    ) -> Float[Tensor, " systems"]:
        """Square of the spread in units of the width."""
        deviations = energies - member_mean(energies)
        return member_mean(deviations * deviations) / (n_atoms * self.width_eV**2)


class BiasedPotential:
    """A potential whose mean forces are those of the ensemble and of a bias.

    Energies and forces of the members stay as they are: what the ensemble says about a frame does
    not depend on how the frame was found.
    """

    def __init__(self, potential: Potential, bias: Bias) -> None:
        """Add a bias to the forces of a potential."""
        self._potential = potential
        self._bias = bias
        self.n_members = potential.n_members
        self.cutoff_A = potential.cutoff_A
        self.elements = potential.elements
        self.dtype = potential.dtype
        self.device = potential.device

    def evaluate(
        self, batch: Batch, pairs: Pairs, *, forces: Forces = "mean"
    ) -> Evaluation:
        """Energies of all members, and biased mean forces in float64 unless asked for none."""
        if forces == "none":
            return self._potential.evaluate(batch, pairs, forces=forces)
        found = self._potential.evaluate(batch, pairs, forces="members")
        members = member_forces(found)
        n_atoms = batch.atoms_per_system.to(torch.float64)
        weights = self._bias.weights(found.energies, n_atoms)[:, batch.system_idx]
        biased = member_mean(members.to(torch.float64))
        for weight, of_member in zip(weights, members, strict=True):
            biased = biased + weight[:, None] * of_member
        return Evaluation(found.energies, biased, members if forces == "members" else None)

    def fingerprint(self, batch: Batch, pairs: Pairs) -> Float[Tensor, "systems features"]:
        """The potential's own."""
        return self._potential.fingerprint(batch, pairs)
