"""A hash of a module's weights, by which files that depend on the weights are recognised."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def weights_hash(module: nn.Module, weights: Mapping[str, Tensor] | None = None) -> str:
    """Returns 32 hexadecimal digits that depend on the class, all parameters and all buffers of a module.

    Names, dtypes, shapes and values count; the device does not.

    Args:
        weights: hashed in place of those that the module has now.
    """
    content = hashlib.sha256(type(module).__qualname__.encode())
    weights = module.state_dict() if weights is None else weights
    for name, tensor in sorted(weights.items()):
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        content.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return content.hexdigest()[:32]
