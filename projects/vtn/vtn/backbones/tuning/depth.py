"""How deep in a backbone each of its parameters lies: for rates by layer, for freezing its first blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from torch import nn


def parameter_depths(network: nn.Module) -> Mapping[str, int]:
    """Returns name of a parameter -> depth: 0 for the stem, then one for each block.

    timm's models say it themselves. In others the blocks are the modules of the kind that their lists and
    sequences hold most of; what lies between two blocks belongs to the one before. Empty where there are
    none.
    """
    if hasattr(network, "group_matcher"):
        from timm.models import group_parameters

        return group_parameters(network, network.group_matcher(coarse=False), reverse=True)
    blocks = _blocks(network)
    depths: dict[str, int] = {}
    reached = 0
    for name, _ in network.named_parameters() if blocks else ():
        block = next((number for prefix, number in blocks.items() if name.startswith(prefix)), reached)
        reached = max(reached, block)
        depths[name] = reached
    return depths


def _blocks(network: nn.Module) -> dict[str, int]:
    """Prefix of a block's parameters -> its number, from 1."""
    found = [
        (f"{name}.{child}." if name else f"{child}.", type(module))
        for name, parent in network.named_modules()
        if isinstance(parent, nn.ModuleList | nn.Sequential)
        for child, module in parent.named_children()
        if not isinstance(module, nn.ModuleList | nn.Sequential) and any(True for _ in module.children())
    ]
    if not found:
        return {}
    kind, _ = Counter(kind for _, kind in found).most_common(1)[0]
    prefixes = [prefix for prefix, its_kind in found if its_kind is kind]
    outermost = [
        one for one in prefixes if not any(one != other and one.startswith(other) for other in prefixes)
    ]
    return {prefix: number for number, prefix in enumerate(outermost, start=1)}
