"""Search for the repeated blocks of a network in its structure."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def blocks_of(network: nn.Module) -> Iterator[nn.Module]:
    """Yields the blocks of a network: modules with children and parameters, in lists of at least two of them.

    Lists are ``ModuleList`` and ``Sequential``; of nested blocks only the outermost are yielded.
    """
    for child in network.children():
        blocks = [block for block in child.children() if _is_block(block)]
        if isinstance(child, nn.ModuleList | nn.Sequential) and len(blocks) > 1:
            yield from blocks
        else:
            yield from blocks_of(child)


def _is_block(module: nn.Module) -> bool:
    """Returns whether a module has children and parameters."""
    return next(module.children(), None) is not None and next(module.parameters(), None) is not None
