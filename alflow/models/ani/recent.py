"""What was made of some tensors last, kept for as long as they are the same."""

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

from torch import Tensor

T = TypeVar("T")


class Recent(Generic[T]):
    """The last thing made of some tensors, found again by their identity.

    A trajectory gives the same elements and mostly the same neighbour list at every step. What
    follows from them is not worked out again, and nothing has to be read back from a GPU.
    """

    def __init__(self) -> None:
        """Nothing is kept yet."""
        self._kept: tuple[list[weakref.ref[Tensor]], list[int], T] | None = None

    def __reduce__(self) -> tuple[type["Recent[T]"], tuple[()]]:
        """A copy has made nothing yet: its tensors are others."""
        return (type(self), ())

    def get(self, tensors: tuple[Tensor, ...], make: Callable[[], T]) -> T:
        """What was made of these tensors if nobody wrote to them since, else what `make` gives."""
        versions = [tensor._version for tensor in tensors]  # noqa: SLF001
        kept = self._kept
        if kept is not None:
            references, old, made = kept
            same = len(references) == len(tensors) and old == versions
            if same and all(r() is t for r, t in zip(references, tensors, strict=True)):
                return made
        made = make()
        self._kept = ([weakref.ref(tensor) for tensor in tensors], versions, made)
        return made
