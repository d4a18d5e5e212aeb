"""Arrays on their way to a device."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def sent(values: Float[np.ndarray, "..."], device: torch.device) -> Float[Tensor, "..."]:
    """A tensor with these values, which are no longer the caller's; a host does not wait for it."""
    tensor = torch.from_numpy(values)
    if device.type != "cuda":
        return tensor.to(device)
    # Only what cannot be paged out is copied while the host goes on.
    return tensor.pin_memory().to(device, non_blocking=True)
