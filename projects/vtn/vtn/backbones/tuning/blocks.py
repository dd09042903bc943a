"""The repeated blocks of a network, found by its structure."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def blocks_of(network: nn.Module) -> Iterator[nn.Module]:
    """Yields the outermost composite modules with parameters, out of lists or sequences of at least two."""
    for child in network.children():
        blocks = [block for block in child.children() if _is_block(block)]
        if isinstance(child, nn.ModuleList | nn.Sequential) and len(blocks) > 1:
            yield from blocks
        else:
            yield from blocks_of(child)


def _is_block(module: nn.Module) -> bool:
    return next(module.children(), None) is not None and next(module.parameters(), None) is not None
