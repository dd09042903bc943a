"""Batch norms folded into the convolutions before them, for networks whose weights no longer change.

``torch.fx`` finds such pairs by tracing, which fails for networks with control flow, and does not know norms
that apply their activation themselves. Here one run of the network shows them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast.distributed.device import exact_products

_Conv: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d
# Largest difference of the result by which norms stay folded, as a fraction of its largest value.
_TOLERANCE = 1e-4


class _Pair(NamedTuple):
    """A convolution and the batch norm of its result.

    Attributes:
        conv: the convolution.
        owner: the parent of the norm.
        name: of the norm in its parent.
    """

    conv: _Conv
    owner: nn.Module
    name: str


@torch.no_grad()
def fold_batch_norms(network: nn.Module, run: Callable[[], Tensor]) -> int:
    """Folds batch norms in place; returns how many were folded.

    A norm is folded where it gets the output of a convolution, both are used once, and the results stay the
    same. The weights are restored where they do not.

    Args:
        network: in evaluation mode.
        run: runs the network on a sample and returns its result.
    """
    if not any(_is_foldable(module) for module in network.modules()):
        return 0  # most transformers: the sample need not be run
    # TensorFloat32 changes results by more than the tolerance, with whatever weights.
    with exact_products(next(network.parameters()).device):
        return _fold_pairs(network, run)


def _fold_pairs(network: nn.Module, run: Callable[[], Tensor]) -> int:
    pairs, expected = _find_pairs(network, run)
    if not pairs:
        return 0
    undo = [_fold(pair) for pair in pairs]
    difference = (run() - expected).abs().max() / expected.abs().max().clamp(min=1e-12)
    if not difference <= _TOLERANCE:
        for restore in reversed(undo):
            restore()
        return 0
    return len(pairs)


def _find_pairs(network: nn.Module, run: Callable[[], Tensor]) -> tuple[list[_Pair], Tensor]:
    """Returns the pairs that can be folded, and the result of the network."""
    makers: dict[int, tuple[_Conv, Tensor]] = {}
    calls: dict[nn.Module, int] = {}
    sources: dict[nn.Module, _Conv] = {}

    def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        calls[module] = calls.get(module, 0) + 1
        if isinstance(module, _Conv):
            makers[id(output)] = (module, output)  # the tensor is kept, so that its id stays its own
        elif args and id(args[0]) in makers:
            sources[module] = makers[id(args[0])][0]

    modules = [m for m in network.modules() if isinstance(m, _Conv | _BatchNorm)]
    hooks = [module.register_forward_hook(note) for module in modules]
    try:
        expected = run()
    finally:
        for hook in hooks:
            hook.remove()
    pairs: list[_Pair] = []
    for owner in network.modules():
        for name, norm in owner.named_children():
            conv = sources.get(norm)
            if conv is not None and _is_foldable(norm) and calls[norm] == 1 and calls[conv] == 1:
                pairs.append(_Pair(conv, owner, name))
    return pairs, expected


def _is_foldable(norm: nn.Module) -> bool:
    """Returns whether the norm has fixed statistics, and is torch's own or timm's with an activation."""
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
        return False
    return type(norm) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d) or hasattr(norm, "act")


def _fold(pair: _Pair) -> Callable[[], None]:
    """Folds a norm into a convolution; returns a function that restores both."""
    conv, owner, name = pair
    norm = owner.get_submodule(name)
    assert isinstance(norm, _BatchNorm)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = conv.weight, conv.bias
    scale = torch.rsqrt(norm.running_var + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean * scale
    shift = shift if norm.bias is None else shift + norm.bias
    shape = (-1, *(1 for _ in weight.shape[1:]))
    conv.weight = nn.Parameter(weight * scale.reshape(shape), requires_grad=False)
    conv.bias = nn.Parameter(shift if bias is None else bias * scale + shift, requires_grad=False)
    after = [
        getattr(norm, part) for part in ("drop", "act") if isinstance(getattr(norm, part, None), nn.Module)
    ]
    setattr(owner, name, nn.Sequential(*after) if after else nn.Identity())

    def restore() -> None:
        conv.weight, conv.bias = weight, bias  # type: ignore[assignment]
        setattr(owner, name, norm)

    return restore
