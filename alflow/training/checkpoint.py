"""Checkpoints of a training: everything that its next epoch depends on, as safetensors bytes."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from alflow.core.errors import SettingsError
from alflow.core.protocols import TrainingContext
from alflow.models.headers import read_header
from alflow.models.weights import read_tensors, write_weights

FORMAT = "1"


@dataclass(frozen=True, eq=False, slots=True)
class Checkpoint:
    """Where a training stands between two epochs.

    Attributes:
        tensors: Its tensors, by name.
        story: The rest (JSON-like).
    """

    tensors: Mapping[str, Tensor]
    story: Mapping[str, Any]

    def to_bytes(self, digest: str) -> bytes:
        """Bytes of a safetensors file.

        Args:
            digest: What names settings, data, seed and initial weights.
        """
        header = {"format": FORMAT, "digest": digest, "story": json.dumps(self.story)}
        return write_weights(self.tensors, header)

    @classmethod
    def from_bytes(cls, content: bytes, digest: str) -> "Checkpoint":
        """The inverse of `to_bytes`.

        Raises:
            SettingsError: If it is damaged, or of a training of something else.
        """
        header = read_header(content)
        if header.get("format") != FORMAT or header.get("digest") != digest:
            raise SettingsError("it is of a training with other settings or data")
        try:
            return cls(read_tensors(content), json.loads(header["story"]))
        except (KeyError, ValueError) as error:
            raise SettingsError(f"it is damaged: {error}") from error


class Keeper:
    """Saves checkpoints now and then, and finds the last one."""

    def __init__(
        self, context: TrainingContext | None, digest: str, period_s: float | None
    ) -> None:
        """Begin; the first checkpoint is due after a whole period.

        Args:
            context: Where checkpoints are kept; None keeps none.
            digest: What names settings, data, seed and initial weights.
            period_s: Time from one to the next [s]; None saves none.
        """
        self._context = context
        self._digest = digest
        self._period_s = period_s
        self._saved = time.monotonic()

    def last(self) -> Checkpoint | None:
        """What was saved last by a training of the same; None if there is nothing of use."""
        content = self._context.checkpoint() if self._context is not None else None
        if self._context is None or content is None:
            return None
        try:
            return Checkpoint.from_bytes(content, self._digest)
        except SettingsError as error:
            self._context.note(
                f"a checkpoint was ignored, training began anew: {error.message}"
            )
        return None

    def after_epoch(self, make: Callable[[], Checkpoint]) -> None:
        """Save a checkpoint, if it is time."""
        if self._context is None or self._period_s is None:
            return
        if time.monotonic() - self._saved < self._period_s:
            return
        self._context.save_checkpoint(make().to_bytes(self._digest))
        self._saved = time.monotonic()
