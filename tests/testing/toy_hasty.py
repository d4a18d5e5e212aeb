"""A family whose settings import torch, which `alflow check` would pay for."""

from typing import Literal

import torch

from alflow.registry import Settings


class HastySettings(Settings):
    """Nothing but a kind and a device that is asked for too early."""

    kind: Literal["hasty"] = "hasty"
    members: int = 2
    device: str = str(torch.device("cpu"))
