"""A hash of a module's weights, by which files that depend on the weights are recognised."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_hash(module: nn.Module) -> str:
    """Returns 32 hexadecimal digits that depend on the class, all parameters and all buffers of a module.

    Names, dtypes, shapes and values count; the device does not.
    """
    content = hashlib.sha256(type(module).__qualname__.encode())
    for name, tensor in sorted(module.state_dict().items()):
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        content.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return content.hexdigest()[:32]
