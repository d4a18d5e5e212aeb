"""The potential of the toy family; see `toy_family`."""

import json
from itertools import count

import torch

from alflow.core.errors import SettingsError
from alflow.models.potential import Evaluation
from alflow.models.weights import write_weights

_calls = count()


class ToyPotential:
    cutoff_A = 4.5
    dtype = torch.float64
    device = torch.device("cpu")

    def __init__(self, elements, depths, flaw):
        self.elements, self.flaw = elements, flaw
        self.depths = torch.tensor(depths, dtype=torch.float64)
        self.n_members = len(depths)

    def evaluate(self, batch, pairs, *, forces="mean"):  # noqa: C901
        known = torch.isin(batch.numbers, torch.tensor(self.elements))
        if not known.all() and self.flaw != "knows everything":
            raise SettingsError("the toy potential does not know an element")
        vectors, distances, near = self._near(batch, pairs)
        ramp = (1 - (distances / self.cutoff_A) ** 2) * near
        strength = batch.numbers.double().sqrt()
        weight = strength[pairs.i] * strength[pairs.j]
        if self.flaw == "first atom is special":
            weight = weight * (1 + 0.1 * (pairs.i == 0))
        pair = 0.5 * weight * ramp**3
        slope = -3 * weight * ramp**2 * distances / self.cutoff_A**2
        if self.flaw == "prefers x":
            pair = pair * (1 + vectors[:, 0] ** 2)
        per_system = batch.positions.new_zeros(batch.n_systems)
        per_system.index_add_(0, batch.system_idx[pairs.i], pair)
        per_system += batch.system_idx.bincount(minlength=batch.n_systems) * 0.1
        if self.flaw == "absolute positions":
            per_system.index_add_(0, batch.system_idx, batch.positions[:, 0] * 0.01)
        if self.flaw == "counts the batch":
            per_system = per_system * (1 + 0.01 * batch.n_systems)
        if self.flaw == "energy per atom":
            per_system = per_system / batch.atoms_per_system
        if self.flaw == "never the same":
            per_system = per_system + 1e-12 * next(_calls)
        pull = (slope / distances.clamp(min=1e-9))[:, None] * vectors
        total = torch.zeros_like(batch.positions)
        total.index_add_(0, pairs.i, pull)
        total.index_add_(0, pairs.j, -pull)
        total *= 0.5 if self.flaw == "forces of half size" else 1.0
        if self.flaw != "NaN is nothing":
            per_system = per_system.masked_fill(~batch.is_finite, torch.nan)
            total[~batch.is_finite[batch.system_idx]] = torch.nan
        energies = self.depths[:, None] * per_system
        each = self.depths[:, None, None] * total
        if self.flaw == "energies in float32":
            energies = energies.float()
        if forces == "none":
            return Evaluation(energies)
        if forces == "mean":
            return Evaluation(energies, forces=each.mean(0))
        return Evaluation(energies, None, None if self.flaw == "no forces" else each)

    def fingerprint(self, batch, pairs):
        _, distances, near = self._near(batch, pairs)
        rows = batch.positions.new_zeros(batch.n_systems, 2)
        ramp = (1 - (distances / self.cutoff_A) ** 2) * near
        values = torch.stack([ramp, ramp**2], 1)
        rows.index_add_(0, batch.system_idx[pairs.i], values)
        if self.flaw == "blind fingerprint":
            return torch.ones_like(rows)
        if self.flaw == "extensive fingerprint":
            return rows
        return rows / batch.atoms_per_system[:, None]

    def to_bytes(self, metadata=None):
        header = {
            "family": "toy",
            "elements": json.dumps(list(self.elements)),
            "flaw": self.flaw,
            "metadata": json.dumps(metadata or {}),
        }
        if self.flaw == "nameless weights":
            del header["family"]
        if self.flaw == "restless bytes":
            header["call"] = str(next(_calls))
        return write_weights({"depths": self.depths}, header)

    def _near(self, batch, pairs):
        vectors = pairs.vectors(batch)
        if self.flaw == "forgets images":
            vectors = vectors * (pairs.shifts == 0).all(1)[:, None] + 9.0 * (
                pairs.shifts != 0
            ).any(1, keepdim=True)
        distances = vectors.norm(dim=1)
        near = distances < self.cutoff_A
        return (
            vectors,
            distances,
            torch.ones_like(near) if self.flaw == "trusts the list" else near,
        )
