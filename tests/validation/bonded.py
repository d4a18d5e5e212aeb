"""Bonds of given depth and stiffness between nearest neighbours: everything is known exactly."""

import torch

from alflow.models.potential import Evaluation


class Bonded:
    """Energy -depth + k/2 (r - length)² of each pair closer than 1.25 lengths.

    Members differ in depth and stiffness. In a close-packed crystal only nearest neighbours are
    bonded, each bond is at its minimum, and so is each bond at a vacancy or a surface.
    """

    def __init__(self, depth=(0.5,), stiffness=(2.0,), length_A=2.8, dtype=torch.float64):
        self.members = tuple(zip(depth, stiffness, strict=True))
        self.n_members = len(self.members)
        self.length_A = length_A
        self.cutoff_A = 1.25 * length_A
        self.elements = tuple(range(1, 100))
        self.dtype = dtype
        self.device = torch.device("cpu")

    def evaluate(self, batch, pairs, *, forces="mean"):
        vectors = pairs.vectors(batch)
        distance = vectors.norm(dim=-1)
        inside = distance < self.cutoff_A
        stretch = torch.where(inside, distance - self.length_A, 0.0)
        owner = batch.system_idx[pairs.i]
        energies, of_members = [], []
        for depth, stiffness in self.members:
            bond = torch.where(inside, stiffness / 2 * stretch**2 - depth, 0.0) / 2
            energy = torch.zeros(batch.n_systems, dtype=torch.float64)
            energies.append(energy.index_add_(0, owner, bond.to(torch.float64)))
            pull = (stiffness * stretch / distance)[:, None] * vectors
            zero = torch.zeros_like(batch.positions)
            of_members.append(zero.index_add_(0, pairs.i, pull))
        members = torch.stack(of_members)
        return Evaluation(
            torch.stack(energies),
            None if forces == "none" else members.mean(0),
            members if forces == "members" else None,
        )

    def fingerprint(self, batch, pairs):
        return batch.atoms_per_system.to(torch.float64)[:, None]
