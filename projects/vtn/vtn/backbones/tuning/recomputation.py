"""Recomputation of activations in the backward pass: less memory for more time.

Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost" (arXiv 1604.06174).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from slowfast.errors import ModelError
from slowfast.tracing import is_exporting
from vtn.backbones.tuning.blocks import blocks_of


def recompute(network: nn.Module, compute: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Returns ``compute(*args, **kwargs)``, whose activations are computed again in the backward pass.

    Args:
        network: the modules that ``compute`` calls; the statistics of their batch norms change once only.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    contexts = {"context_fn": lambda: (nullcontext(), _fixed_statistics(norms))} if norms else {}
    return checkpoint(compute, *args, use_reentrant=False, **contexts, **kwargs)


def recompute_blocks(network: nn.Module, every: int) -> None:
    """Makes the first of each ``every`` blocks recompute its activations, in place.

    Their names and weights stay the same. Blocks without gradients are computed once, as before.

    Raises:
        ModelError: for a network without a list of blocks.
    """
    blocks = list(blocks_of(network))[::every]
    if not blocks:
        raise ModelError(
            f"backbone.act_checkpoint_every = {every}: {type(network).__name__} has no list of blocks; must "
            "be 0, which recomputes the whole backbone, with chunk_frames for a part of the frames at a time"
        )
    for block in blocks:
        # A partial function: deep copies of the network get one of their own block.
        block.forward = partial(_forward, block, block.forward)  # type: ignore[method-assign]


def _forward(block: nn.Module, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls the original ``forward`` of a block, with recomputation where gradients are needed."""
    inputs = (value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
    learns = any(tensor.requires_grad for tensor in (*block.parameters(), *inputs))
    if not (learns and torch.is_grad_enabled()) or is_exporting():
        return original(*args, **kwargs)
    return recompute(block, original, *args, **kwargs)


@contextmanager
def _fixed_statistics(norms: list[_BatchNorm]) -> Iterator[None]:
    """Lets batch norms in training mode leave their running statistics and their count as they are."""
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
