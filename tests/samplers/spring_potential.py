"""An ensemble of harmonic springs between neighbours, with closed-form vibrations."""

import torch

from alflow.models.potential import Evaluation


class Springs:
    """Energy k/2 (r - length)² of each pair closer than `bond_A`; members differ in k and length.

    `broken_beyond` makes energies of systems NaN in which a bond is longer than that [Å].
    """

    def __init__(
        self,
        stiffness=(30.0,),
        length_A=(1.0,),
        bond_A=1.5,
        *,
        cutoff_A=None,
        broken_beyond=None,
    ):
        self.members = tuple(zip(stiffness, length_A, strict=True))
        self.n_members = len(self.members)
        self.bond_A = bond_A
        self.cutoff_A = cutoff_A or bond_A
        self.elements = tuple(range(1, 100))
        self.dtype = torch.float64
        self.device = torch.device("cpu")
        self.broken_beyond = broken_beyond
        self.n_systems = []

    def evaluate(self, batch, pairs, *, forces="mean"):
        self.n_systems.append(batch.n_systems)
        vectors = pairs.vectors(batch)
        distance = vectors.norm(dim=-1)
        inside = distance < self.bond_A
        owner = batch.system_idx[pairs.i]
        energies, of_members = [], []
        for k, length in self.members:
            stretch = torch.where(inside, distance - length, 0.0)
            energy = torch.zeros(batch.n_systems, dtype=torch.float64)
            energy.index_add_(0, owner, k / 4 * stretch**2)
            pull = (k * stretch / distance)[:, None] * vectors
            of_members.append(
                torch.zeros_like(batch.positions).index_add_(0, pairs.i, pull)
            )
            energies.append(energy)
        energies = torch.stack(energies)
        if self.broken_beyond is not None:
            long = owner[inside & (distance > self.broken_beyond)]
            energies[:, long] = float("nan")
        members = torch.stack(of_members)
        return Evaluation(
            energies,
            None if forces == "none" else members.mean(0),
            members if forces == "members" else None,
        )

    def fingerprint(self, batch, pairs):
        near = (pairs.vectors(batch).norm(dim=-1) < self.cutoff_A).to(torch.float64)
        total = torch.zeros(batch.n_systems, 1, dtype=torch.float64)
        return total.index_add_(0, batch.system_idx[pairs.i], near[:, None])
