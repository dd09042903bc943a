"""Tensors that are spread over the ranks, and the whole ones.

Files hold whole tensors in host memory: so they fit any number of processes, spread or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(tensor: Any) -> bool:
    """Whether this rank holds only its part of ``tensor``."""
    return isinstance(tensor, DTensor)


def to_local(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor, sharing its memory; a tensor that is not spread is its own part."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def to_full(tensor: Tensor) -> Tensor:
    """The whole of a tensor; all ranks call it for one that is spread."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(tensor: Tensor, pattern: Tensor) -> Tensor:
    """Spreads a whole tensor, which each rank has, as ``pattern`` of the same shape is; sends nothing."""
    if not isinstance(pattern, DTensor):
        return tensor
    on_device = tensor.to(pattern.device)
    return distribute_tensor(on_device, pattern.device_mesh, pattern.placements, src_data_rank=None)


def full_state_on_cpu(value: Any, *, keep: bool = True) -> Any:
    """Copies nested mappings and lists with their tensors, whole, to host memory, where no step changes them.

    Where tensors are spread all ranks call it with the same ``value``.

    Args:
        keep: False on ranks that only take part: their copy has None for each tensor.
    """
    if isinstance(value, Tensor):
        complete = to_full(value.detach())
        return complete.to("cpu", copy=True) if keep else None
    if isinstance(value, Mapping):
        return {key: full_state_on_cpu(item, keep=keep) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(full_state_on_cpu(item, keep=keep) for item in value)
    return value


@torch.no_grad()
def copy_state(source: nn.Module, target: nn.Module) -> None:
    """Gives ``target``, which is whole, the parameters and buffers of ``source``; all ranks call it."""
    own = target.state_dict()
    for name, tensor in source.state_dict().items():
        own[name].copy_(to_full(tensor))
