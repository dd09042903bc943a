"""Loading of weights into a model: names are matched, and every difference is listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from slowfast.checkpoint.storage import checkpoint_folder, class_names_in, read_checkpoint, weights_in
from slowfast.checkpoint.weight_names import MIN_MATCHED, match_names
from slowfast.distributed.dtensor import shard_like
from slowfast.errors import CheckpointError, InputError, shown
from slowfast.log import get_logger
from slowfast.models.capabilities import AdaptsWeights, HasClasses

logger = get_logger(__name__)

_MAX_LISTED = 10
# Weights that PySlowFast's own networks have, and those of pytorchvideo have not.
_PYSLOWFAST_NAMES = frozenset({"s1.pathway0_stem.conv.weight", "pos_embed_spatial"})
_PYSLOWFAST_REMEDY = (
    "the weights are of PySlowFast's own networks; those here are pytorchvideo's: take weights that "
    "pytorchvideo publishes, or those of PySlowFast's models PTV…"
)


@dataclass(frozen=True)
class WeightDifferences:
    """Differences between the weights of a file and those of a model, by name.

    Attributes:
        missing: in the model only.
        unexpected: in the file only.
        misshapen: in both, with different shapes.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen)

    def listing(self, weights: Mapping[str, Tensor], own: Mapping[str, Tensor], owner: str = "model") -> str:
        """Returns one line per difference; ``weights`` and ``own`` as compared, ``owner`` names the model."""
        shapes = [
            f"{name} is {tuple(weights[name].shape)}, the {owner}'s {tuple(own[name].shape)}"
            for name in self.misshapen
        ]
        groups = (("missing", self.missing), ("unexpected", self.unexpected), ("of another shape", shapes))
        return "\n".join(list_names(title, names) for title, names in groups if names)


def compare_weights(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> WeightDifferences:
    """Compares the names and shapes of ``weights`` with a model's state dict ``own``.

    The batch counters of batch norms may be missing, since files of earlier versions of torch lack them.
    """
    return WeightDifferences(
        tuple(name for name in own if name not in weights and not name.endswith("num_batches_tracked")),
        tuple(name for name in weights if name not in own),
        tuple(name for name in weights if name in own and weights[name].shape != own[name].shape),
    )


def load_model_weights(
    model: nn.Module,
    path: str | Path,
    *,
    reset_head: bool = False,
    reset_option: str = "",
    averaged: bool = False,
) -> tuple[str, ...]:
    """Loads the weights in ``path`` into ``model``; every weight of the model must be in the file.

    Returns the class names in the file; empty if it has none.

    Args:
        model: its attribute ``num_classes`` identifies the weights of its last layer.
        path: a ``.pyth``/``.pt`` file with a state dict, by itself or under one of
            :data:`slowfast.checkpoint.storage.STATE_DICT_KEYS`, or a ``.safetensors`` file.
        reset_head: keep the initial weights of a last layer with another number of classes.
        reset_option: the option with which the caller sets ``reset_head``, for messages; empty: none.
        averaged: load the moving average of the weights; if the file has none, a line is logged.

    Raises:
        CheckpointError: listing the missing, unexpected and misshapen weights.
        InputError: for another ``reset_head`` than True and False.
    """
    content = read_checkpoint(path)
    weights = weights_in(content, path, averaged=averaged)
    load_weights(model, weights, source=str(path), reset_head=reset_head, reset_option=reset_option)
    return class_names_in(content, path)


def load_weights(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    *,
    source: str,
    reset_head: bool = False,
    reset_option: str = "",
) -> tuple[str, ...]:
    """Loads weights from memory, see :func:`load_model_weights`; ``source`` names their origin in messages.

    Returns the names of the weights that the model adapted to its own shapes; usually empty. A model whose
    weights are refused keeps those it had.
    """
    check_reset_head(reset_head)
    own = model.state_dict()
    matched = match_names(weights, own.keys(), min_matched=MIN_MATCHED)
    if removed := matched.describe():
        logger.info("%s: %s", source, removed)
    if matched.others:
        logger.info("%s: %s", source, list_names("entries without the prefix, not loaded", matched.others))
    adapted, remedies = _adapt(model, matched.weights, own, source)
    weights = {**matched.weights, **adapted}
    expected = compare_weights(weights, own)
    misshapen = expected.misshapen
    heads = [name for name in misshapen if _is_other_head(weights[name], own[name], model)]
    if reset_head and heads:
        logger.info("%s: its last layer has another number of classes and is not loaded: %s", source, heads)
    # torch compares the other names: modules may accept older names of their weights by hooks.
    loaded = {
        name: shard_like(tensor, own[name]) if name in own else tensor
        for name, tensor in weights.items()
        if name not in misshapen
    }
    earlier = {name: tensor.clone() for name, tensor in own.items()} if expected else {}
    result = model.load_state_dict(loaded, strict=False)
    differences = WeightDifferences(
        tuple(name for name in result.missing_keys if name not in misshapen),
        tuple(result.unexpected_keys),
        tuple(name for name in misshapen if not (reset_head and name in heads)),
    )
    if differences:
        for name, tensor in earlier.items():
            own[name].copy_(tensor)
        text = f"{source} does not fit the model:\n{differences.listing(weights, own)}"
        if differences == WeightDifferences((), (), tuple(heads)):
            remedies.append(_describe_classes(len(weights[heads[0]]), len(own[heads[0]]), reset_option))
        elif not _PYSLOWFAST_NAMES.isdisjoint(differences.unexpected):
            remedies.append(_PYSLOWFAST_REMEDY)
        elif config := _find_configuration(source):
            remedies.append(f"the weights were trained with the configuration {config}; use it")
        raise CheckpointError("\n".join([text, *remedies]))
    return tuple(adapted)


def check_reset_head(reset_head: object) -> None:
    """Raises ``InputError`` for what is not True or False, such as the text "no", which counts as True."""
    if reset_head not in (True, False):
        raise InputError(f"reset_head = {shown(reset_head)}: must be True or False")


def list_names(title: str, names: Sequence[str]) -> str:
    """Returns a title with the number of names, then one name per line, at most 10 of them."""
    lines = [f"  {title} ({len(names)}):", *(f"    {name}" for name in names[:_MAX_LISTED])]
    if len(names) > _MAX_LISTED:
        lines.append(f"    … and {len(names) - _MAX_LISTED} more")
    return "\n".join(lines)


def _find_configuration(source: str) -> str:
    """Returns the configuration of the run whose folder of checkpoints has a file; empty without one."""
    folder = Path(source).absolute().parent
    config = folder.parent / "config.yaml"
    return str(config) if folder == checkpoint_folder(folder.parent) and config.is_file() else ""


def _describe_classes(theirs: int, ours: int, reset_option: str) -> str:
    """Returns the remedy for a last layer with another number of classes."""
    remedy = f"set MODEL.NUM_CLASSES {theirs} (in Python: num_classes={theirs})"
    text = f"the weights are of {theirs} classes, the model has {ours}: {remedy}"
    if reset_option:
        text += f", or {reset_option} to keep the initial weights of the last layer"
    return text


def _adapt(
    model: nn.Module, weights: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Returns the weights that the model adapts to its shapes, and remedies for others of another shape."""
    adapted: dict[str, Tensor] = {}
    remedies: list[str] = []
    if isinstance(model, AdaptsWeights):
        for name in compare_weights(weights, own).misshapen:
            result = model.adapt_weight(name, weights[name], own[name].shape)
            if isinstance(result, Tensor):
                adapted[name] = result
            elif result:
                remedies.append(result)
    if adapted:
        shapes = [f"{name}: {tuple(weights[name].shape)} → {tuple(w.shape)}" for name, w in adapted.items()]
        logger.info("%s: %s", source, list_names("adapted to the model", shapes))
    return adapted, remedies


def _is_other_head(theirs: Tensor, ours: Tensor, model: nn.Module) -> bool:
    """Returns whether two tensors of different shapes are the last layer for different numbers of classes."""
    same_input = theirs.shape[1:] == ours.shape[1:]
    return (
        ours.ndim > 0
        and theirs.ndim > 0
        and same_input
        and isinstance(model, HasClasses)
        and ours.shape[0] == model.num_classes
    )
