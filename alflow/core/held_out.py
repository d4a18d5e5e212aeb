"""How far off a model is on labels that it was not fitted to."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, slots=True)
class HeldOutErrors:
    """Errors of the members that held a label out of their training, by label.

    Attributes:
        label_id: Id of the label, (labels,).
        energy: Predicted minus labelled energy per atom [eV], the mean over those members,
            (labels,); NaN where no member held it out.
        force: Root mean square error of force components [eV/Å] over those members, (labels,); NaN
            likewise, and for labels without forces.
    """

    label_id: Int[np.ndarray, " labels"]
    energy: Float[np.ndarray, " labels"]
    force: Float[np.ndarray, " labels"]

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name, as they stand in files."""
        return {"label_id": self.label_id, "energy": self.energy, "force": self.force}

    @classmethod
    def joined(cls, parts: "list[HeldOutErrors]") -> "HeldOutErrors":
        """Several as one, in this order."""
        empty = cls(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
        every = [empty, *parts]
        return cls(
            np.concatenate([one.label_id for one in every]),
            np.concatenate([one.energy for one in every]),
            np.concatenate([one.force for one in every]),
        )
