"""The repeated blocks of a network, and the depth of its parameters by them.

Depths serve layer-wise learning rates and the freezing of the first blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

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


def parameter_depths(network: nn.Module) -> Mapping[str, int]:
    """Returns the depth of each parameter by name: 0 for the stem, 1 for the first block, and so on.

    A network may have a method ``parameter_depths()`` of its own; timm's models define their blocks. In other
    networks, blocks are the modules of the most frequent type inside ``ModuleList`` and ``Sequential``
    containers; parameters between two blocks belong to the block before them. The result is empty if the
    network has no blocks.
    """
    if hasattr(network, "parameter_depths"):
        return network.parameter_depths()  # type: ignore[operator]
    if hasattr(network, "group_matcher"):
        from timm.models import group_parameters

        return group_parameters(network, network.group_matcher(coarse=False), reverse=True)
    blocks = _numbered_blocks(network)
    depths: dict[str, int] = {}
    reached = 0
    for name, _ in network.named_parameters() if blocks else ():
        block = next((number for prefix, number in blocks.items() if name.startswith(prefix)), reached)
        reached = max(reached, block)
        depths[name] = reached
    return depths


def _numbered_blocks(network: nn.Module) -> dict[str, int]:
    """Returns the number of each block, from 1, by the prefix of its parameters' names."""
    # Candidates: modules with children of their own, directly inside a list or a sequence.
    found = [
        (f"{name}.{child}." if name else f"{child}.", type(module))
        for name, parent in network.named_modules()
        if isinstance(parent, nn.ModuleList | nn.Sequential)
        for child, module in parent.named_children()
        if not isinstance(module, nn.ModuleList | nn.Sequential) and any(True for _ in module.children())
    ]
    if not found:
        return {}
    # Keep the most frequent type, and of nested modules of that type only the outermost.
    block_type, _ = Counter(module_type for _, module_type in found).most_common(1)[0]
    prefixes = [prefix for prefix, module_type in found if module_type is block_type]
    outermost = [
        prefix
        for prefix in prefixes
        if not any(prefix != other and prefix.startswith(other) for other in prefixes)
    ]
    return {prefix: number for number, prefix in enumerate(outermost, start=1)}
