"""Weights that generation 0 starts from: their file goes into the store, a part of it into tasks.

A model family that can start from weights has the methods `pretrained_bytes` and
`starting_weights`, and its settings name the checksum of the file in `pretrained.sha256`.
"""

from typing import Protocol, runtime_checkable

from alflow.config.campaign import CampaignSettings
from alflow.store import Store


class _File(Protocol):
    sha256: str


@runtime_checkable
class StartsFromWeights(Protocol):
    """Settings of a model family that may name a file of weights.

    Attributes:
        pretrained: The file, or None.
    """

    pretrained: _File | None

    def pretrained_bytes(self) -> bytes | None:
        """Content of the file, or None if none is named."""
        ...

    def starting_weights(self, content: bytes, elements: tuple[str, ...]) -> bytes:
        """The part of it that a campaign of these elements needs; always the same bytes."""
        ...


def new_weights(settings: CampaignSettings) -> bytes | None:
    """What goes into the store when a campaign is created; None if it starts at random.

    Raises:
        SettingsError: If the file cannot be read, or has changed.
    """
    model = settings.model
    return model.pretrained_bytes() if isinstance(model, StartsFromWeights) else None


def starting_weights(store: Store, settings: CampaignSettings) -> bytes | None:
    """What generation 0 starts from, made from what the store holds; None if at random.

    Raises:
        StoreError: If the weights are not in the store, or damaged.
    """
    model = settings.model
    if not isinstance(model, StartsFromWeights) or model.pretrained is None:
        return None
    content = store.blob(model.pretrained.sha256)
    return model.starting_weights(content, settings.system.elements)
