"""Loading of weights into a model, with a listing of all that does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from slowfast.checkpoint.storage import class_names_in, read_checkpoint, weights_in
from slowfast.distributed.dtensor import shard_like
from slowfast.errors import CheckpointError
from slowfast.log import get_logger

logger = get_logger(__name__)


def load_model_weights(
    model: nn.Module, path: str | Path, *, reset_head: bool = False, averaged: bool = False
) -> tuple[str, ...]:
    """Loads the weights in ``path`` into ``model``, all of them and nothing else.

    Returns the class names that the file holds; it may hold none.

    Args:
        model: its ``num_classes`` tells which weights are its last layer's.
        path: a ``.pyth``/``.pt`` file (a state dict, or one under ``model_state``, ``state_dict`` or
            ``model``) or a ``.safetensors`` file.
        reset_head: leave a last layer of another number of classes as it was initialised.
        averaged: take the moving average of the weights; where the file has none the log says so.

    Raises:
        CheckpointError: listing the missing, unexpected and misshapen weights.
    """
    content = read_checkpoint(path)
    weights = weights_in(content, path, averaged=averaged)
    load_weights(model, weights, source=str(path), reset_head=reset_head)
    return class_names_in(content, path)


def load_weights(
    model: nn.Module, weights: Mapping[str, Tensor], *, source: str, reset_head: bool = False
) -> None:
    """As :func:`load_model_weights`, with the weights in memory; ``source`` names them in errors."""
    weights = dict(weights)
    own = model.state_dict()
    misshapen = [name for name in weights if name in own and weights[name].shape != own[name].shape]
    heads = [name for name in misshapen if _is_other_head(weights[name], own[name], model)]
    if reset_head and heads:
        logger.info("%s: its last layer has another number of classes and is not taken: %s", source, heads)
        misshapen = [name for name in misshapen if name not in heads]
    shapes = [f"{n} is {tuple(weights[n].shape)}, the model's {tuple(own[n].shape)}" for n in misshapen]
    for name in {*misshapen, *heads}:
        del weights[name]
    spread = {name: shard_like(w, own[name]) if name in own else w for name, w in weights.items()}
    result = model.load_state_dict(spread, strict=False)
    missing = [name for name in result.missing_keys if name not in {*misshapen, *heads}]
    problems = [
        _listing("missing", missing),
        _listing("unexpected", result.unexpected_keys),
        _listing("of another shape", shapes),
    ]
    if any(problems):
        remedy = ""
        if heads and set(heads) == set(misshapen) and not missing and not result.unexpected_keys:
            remedy = "\nto keep a fresh last layer set TRAIN.CHECKPOINT_RESET_HEAD True"
        raise CheckpointError(
            f"{source} does not fit the model:\n" + "\n".join(filter(None, problems)) + remedy
        )


def _is_other_head(theirs: Tensor, ours: Tensor, model: nn.Module) -> bool:
    """Whether two tensors are the last layer for different numbers of classes."""
    same_input = theirs.shape[1:] == ours.shape[1:]
    return (
        ours.ndim > 0
        and theirs.ndim > 0
        and same_input
        and ours.shape[0] == getattr(model, "num_classes", None)
    )


def _listing(what: str, names: list[str]) -> str:
    if not names:
        return ""
    shown, rest = names[:20], len(names) - 20
    return "\n".join(
        [
            f"  {what} ({len(names)}):",
            *(f"    {n}" for n in shown),
            *([f"    … and {rest} more"] if rest > 0 else []),
        ]
    )
