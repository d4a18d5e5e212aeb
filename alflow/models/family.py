"""What a model family must offer, so that the loop can train and use it without knowing it.

A family is a settings class, found by the entry point `alflow.models`. Its module imports no
torch: `create` and `load` do. `alflow.testing.ModelFamilyTests` is the contract as tests.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from alflow.models.potential import Potential


@runtime_checkable
class WritablePotential(Potential, Protocol):
    """A potential whose weights can be kept."""

    def to_bytes(self, metadata: Mapping[str, str] | None = None) -> bytes:
        """Bytes of a safetensors file; equal potentials give equal bytes.

        The header says `family`, the `kind` of its settings (see `models.weights.write_weights`).

        Args:
            metadata: What else the header should say.
        """
        ...


@runtime_checkable
class ModelFamily(Protocol):
    """Settings of a model family.

    Beside these a family may have `pretrained`, `pretrained_bytes` and `starting_weights` (see
    `alflow.loop.pretrained`), and its potential `to(device)`. What else a trainer needs, its
    parameters above all, is between the family and its trainer.

    Attributes:
        kind: Name of the family, that of its entry point.
        members: Number of members of an ensemble.
    """

    kind: str
    members: int

    def create(self, elements: Sequence[int], seed: int) -> WritablePotential:
        """A fresh ensemble.

        Args:
            elements: Atomic numbers that it must know.
            seed: All that its weights depend on besides the settings.
        """
        ...

    def load(self, weights: bytes) -> WritablePotential:
        """The ensemble in the bytes of `to_bytes`; a class method, for the bytes say everything.

        Raises:
            SettingsError: If the bytes are malformed, or of another family.
        """
        ...
