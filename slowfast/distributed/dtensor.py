"""Tensors that are sharded over the ranks (DTensor), and full tensors.

Files hold full tensors in host memory, so that they fit any number of processes, sharded or not.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def is_sharded(tensor: Any) -> bool:
    """Returns whether this rank holds only its shard of ``tensor``."""
    # The module takes a second to import. A process that has not imported it holds no sharded tensor.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def to_local(tensor: Any) -> Tensor:
    """Returns this rank's shard, sharing its memory; an unsharded tensor is returned as it is."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def to_full(tensor: Any) -> Tensor:
    """Returns the full tensor. All ranks must call it for a sharded one."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def shard_like(tensor: Tensor, pattern: Any) -> Tensor:
    """Shards a full tensor, which each rank has, like ``pattern`` of the same shape; communicates nothing."""
    if not is_sharded(pattern):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    on_device = tensor.to(pattern.device)
    return distribute_tensor(on_device, pattern.device_mesh, pattern.placements, src_data_rank=None)


def full_state_on_cpu(value: Any, *, keep: bool = True) -> Any:
    """Copies nested mappings and lists to host memory, with full tensors that later steps do not change.

    Where tensors are sharded all ranks must call it with the same ``value``.

    Args:
        keep: False on ranks that only take part in the communication: their copy has None for each tensor.
    """
    if isinstance(value, Tensor):
        full = to_full(value.detach())
        return full.to("cpu", copy=True) if keep else None
    if isinstance(value, Mapping):
        return {key: full_state_on_cpu(item, keep=keep) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(full_state_on_cpu(item, keep=keep) for item in value)
    return value


@torch.no_grad()
def copy_state(source: nn.Module, target: nn.Module) -> None:
    """Copies parameters and buffers of ``source`` into the unsharded ``target``. All ranks must call it."""
    own = target.state_dict()
    for name, tensor in source.state_dict().items():
        own[name].copy_(to_full(tensor))
