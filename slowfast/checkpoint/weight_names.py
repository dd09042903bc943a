"""Names of weights in a file, matched with those of a model.

Training programs put names in front of a model's own (``module.`` of DataParallel, ``_orig_mod.`` of
``torch.compile``, ``model.`` or ``net.`` of a Lightning module), or inside them where they wrap a part of the
model. Both are found by comparison with the names of the model, and removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

from slowfast.errors import CheckpointError

MIN_MATCHED = 0.5
"""Fraction of a model's names that must follow a prefix before it is removed from its weights."""

# Names that wrappers add before a module, anywhere in a dotted name.
_INNER_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# Names of the attribute in which a larger module usually keeps a model.
_OUTER_WRAPPERS = _INNER_WRAPPERS | {"model", "net", "network"}


@dataclass(frozen=True)
class MatchedWeights:
    """The weights of a file under the names of a model.

    Attributes:
        weights: the entries behind the prefix.
        prefix: the text before the names of the model; empty without one.
        others: names, as in the file, of the entries without the prefix.
        num_unwrapped: number of names from which a wrapper was removed behind the prefix.
    """

    weights: dict[str, Tensor]
    prefix: str
    others: tuple[str, ...]
    num_unwrapped: int

    def describe(self) -> str:
        """Returns what was removed from the names, for the log; empty if nothing was."""
        texts = [f"prefix {self.prefix!r} removed"] if self.prefix else []
        if self.num_unwrapped:
            texts.append(f"wrappers removed from {self.num_unwrapped} names")
        return ", ".join(texts)


def match_names(
    weights: Mapping[str, Tensor], own: Collection[str], *, min_matched: float = 0.0
) -> MatchedWeights:
    """Removes prefixes and wrappers from the names of ``weights``, as far as they then are names of ``own``.

    Args:
        own: the names in the state dict of the model.
        min_matched: fraction of ``own`` that must follow a prefix; otherwise no prefix is removed.

    Raises:
        CheckpointError: if several prefixes fit equally well, or several weights have one name.
    """
    plain_own = {_unwrap(name): name for name in own}
    prefixes = [_prefix_of(name, own, plain_own) for name in weights]
    votes = Counter(prefix for prefix in prefixes if prefix is not None)
    prefix = _choose_prefix(votes, len(own))
    if votes[prefix] < min_matched * len(own):
        prefix = ""
    found: dict[str, Tensor] = {}
    num_unwrapped = 0
    for name, tensor in weights.items():
        if name.startswith(prefix):
            rest = name.removeprefix(prefix)
            target = rest if rest in own else plain_own.get(_unwrap(rest), rest)
            if target in found:
                raise CheckpointError(f"several weights have the name {target}, one of them as {name}")
            num_unwrapped += target != rest
            found[target] = tensor
    others = tuple(name for name in weights if not name.startswith(prefix))
    return MatchedWeights(found, prefix, others, num_unwrapped)


def _unwrap(name: str) -> str:
    """Returns a dotted name without the names that wrappers add."""
    return ".".join(part for part in name.split(".") if part not in _INNER_WRAPPERS)


def _prefix_of(name: str, own: Collection[str], plain_own: Mapping[str, str]) -> str | None:
    """Returns the text before the longest end of ``name`` that is a name of the model; None without one."""
    parts = name.split(".")
    for start in range(len(parts)):
        if _unwrap(".".join(parts[start:])) in plain_own:
            while parts[start] in _INNER_WRAPPERS and ".".join(parts[start:]) not in own:
                start += 1
            return "".join(f"{part}." for part in parts[:start])
    return None


def _choose_prefix(votes: Counter[str], num_own: int) -> str:
    """Returns the most frequent prefix; of equally frequent ones, that of a usual wrapper."""
    if not votes:
        return ""
    most = max(votes.values())
    best = [prefix for prefix, count in votes.items() if count == most]
    usual = [prefix for prefix in best if set(prefix.split(".")) <= {"", *_OUTER_WRAPPERS}]
    if len(best) > 1 and len(usual) != 1 and most >= MIN_MATCHED * num_own:
        raise CheckpointError(
            f"the names of the weights fit behind each of the prefixes {', '.join(map(repr, best))}; save "
            "the weights of one of these modules alone"
        )
    return usual[0] if len(usual) == 1 else best[0]
