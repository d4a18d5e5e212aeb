"""A model family of a few lines that keeps the contract, and ways to break it.

Pairs of atoms attract and repel by a polynomial that ends at the cutoff; members differ in depth.
"""

import json
from typing import Literal

from alflow.registry import Settings

FLAWS = Literal[
    "none",
    "absolute positions",
    "prefers x",
    "first atom is special",
    "forces of half size",
    "forgets images",
    "counts the batch",
    "trusts the list",
    "energy per atom",
    "knows everything",
    "NaN is nothing",
    "clones",
    "never the same",
    "extensive fingerprint",
    "blind fingerprint",
    "no forces",
    "energies in float32",
    "restless bytes",
    "ignores the seed",
    "loads other weights",
    "nameless weights",
    "drops an element",
]


class ToySettings(Settings):
    """Pairs with a cutoff."""

    kind: Literal["toy"] = "toy"
    members: int = 2
    flaw: FLAWS = "none"

    def create(self, elements, seed):
        from random import Random

        from toy_potential import ToyPotential

        rng = Random(0 if self.flaw == "ignores the seed" else seed)
        depths = [0.5 + rng.random() for _ in range(self.members)]
        if self.flaw == "clones":
            depths = depths[:1] * self.members
        elements = tuple(elements)[: len(elements) - (self.flaw == "drops an element")]
        return ToyPotential(elements, depths, self.flaw)

    @classmethod
    def load(cls, weights):
        from toy_potential import ToyPotential

        from alflow.models.headers import read_header
        from alflow.models.weights import read_tensors

        header = read_header(weights)
        flaw, depths = header["flaw"], read_tensors(weights)["depths"].tolist()
        if flaw == "loads other weights":
            depths = [depth + 1e-9 for depth in depths]
        return ToyPotential(tuple(json.loads(header["elements"])), depths, flaw)
