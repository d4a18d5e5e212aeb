"""An ensemble of Lennard-Jones potentials with closed-form forces.

Only sums in a fixed order, sums, products and quotients: its bits do not depend on the company.
"""

import torch

from alflow.models.potential import Batch, Evaluation, Forces, Pairs


class PairPotential:
    """Members differ in `epsilon` and `sigma`; smooth at the cutoff (two derivatives)."""

    def __init__(self, epsilon=(0.05,), sigma=(2.6,), cutoff_A=6.0, dtype=torch.float64):
        self.epsilon, self.sigma = tuple(epsilon), tuple(sigma)
        self.n_members = len(self.epsilon)
        self.cutoff_A = cutoff_A
        self.elements = tuple(range(1, 100))
        self.dtype = dtype
        self.device = torch.device("cpu")
        self.n_evaluations = {"none": 0, "mean": 0, "members": 0}

    def evaluate(
        self, batch: Batch, pairs: Pairs, *, forces: Forces = "mean"
    ) -> Evaluation:
        self.n_evaluations[forces] += 1
        vectors = pairs.vectors(batch)
        x, y, z = vectors.unbind(-1)
        u = (x * x + y * y + z * z) / self.cutoff_A**2
        inside = u < 1
        u = torch.where(inside, u, 1.0)
        energies, all_forces = [], []
        for epsilon, sigma in zip(self.epsilon, self.sigma, strict=True):
            energy, slope = self._pair(u, epsilon, sigma)
            per_pair = torch.where(inside, energy, 0.0) * 0.5
            owner = batch.system_idx[pairs.i]
            total = torch.zeros(batch.n_systems, dtype=torch.float64)
            energies.append(total.index_add_(0, owner, per_pair.to(torch.float64)))
            pull = torch.where(inside, slope, 0.0) * (2 / self.cutoff_A**2)
            columns = [
                torch.zeros(batch.n_atoms, dtype=self.dtype).index_add_(
                    0, pairs.i, pull * c
                )
                for c in (x, y, z)
            ]
            all_forces.append(torch.stack(columns, dim=-1))
        members = torch.stack(all_forces)
        mean = members[0]
        for other in members[1:]:
            mean = mean + other
        mean = mean / len(members)
        return Evaluation(
            torch.stack(energies),
            mean if forces != "none" else None,
            members if forces == "members" else None,
        )

    def _pair(self, u, epsilon, sigma):
        """Energy of a pair and its derivative by u = (r / cutoff)²."""
        s = (sigma / self.cutoff_A) ** 2 / u
        s3 = s * s * s
        lj = 4 * epsilon * (s3 * s3 - s3)
        lj_slope = 4 * epsilon * (3 * s3 - 6 * s3 * s3) / u
        v = 1 - u
        return lj * v * v * v, lj_slope * v * v * v - 3 * lj * v * v

    def fingerprint(self, batch: Batch, pairs: Pairs):
        vectors = pairs.vectors(batch)
        distance = vectors.norm(dim=-1)
        owner = batch.system_idx[pairs.i]
        columns = []
        for centre in (2.0, 3.0, 4.0, 5.0):
            near = (distance < self.cutoff_A) * torch.exp(-((distance - centre) ** 2))
            total = torch.zeros(batch.n_systems, dtype=self.dtype).index_add_(
                0, owner, near
            )
            columns.append(total / batch.atoms_per_system)
        return torch.stack(columns, dim=-1)


class BrokenPotential(PairPotential):
    """Says NaN for the energy of one system, once, after so many evaluations."""

    def __init__(self, system=0, after=3):
        super().__init__()
        self.system, self.after = system, after

    def evaluate(self, batch, pairs, *, forces="mean"):
        result = super().evaluate(batch, pairs, forces=forces)
        if sum(self.n_evaluations.values()) == self.after + 1:
            result.energies[:, self.system] = float("nan")
        return result


class ExplodingPotential(PairPotential):
    """Pushes every atom with a constant, huge force."""

    def evaluate(self, batch, pairs, *, forces="mean"):
        result = super().evaluate(batch, pairs, forces=forces)
        result.forces.fill_(1e3)
        return result
