"""A backbone's weights from a file of any origin, with a report about each entry of the file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from slowfast.checkpoint.storage import find_state_dict, read_checkpoint
from slowfast.checkpoint.weight_names import match_names
from slowfast.checkpoint.weights import compare_weights, list_names
from slowfast.errors import CheckpointError
from slowfast.log import get_logger
from vtn.backbones.base import Backbone

logger = get_logger(__name__)

# Keys under which training programs save the weights; averaged weights are preferred to ordinary ones.
_KEYS = (
    *("state_dict_ema", "model_ema", "model_state", "state_dict", "model_state_dict", "model", "teacher"),
    *("module", "ema_encoder", "target_encoder", "encoder"),
)
# First parts of the names of modules that classify, project or reconstruct on top of a backbone.
_HEADS = (
    *("head", "heads", "head_dist", "head_drop", "fc", "classifier", "last_linear", "mlp_head", "proj"),
    "dino_head",
)


def load_backbone_weights(backbone: Backbone, path: str | Path) -> None:
    """Loads the weights in ``path`` into a backbone and logs a report about each entry.

    All weights of the backbone must be in the file. The file may contain a larger model: a prefix of the
    backbone's names is found, and a classifier is left out. For timm's models, every form that timm itself
    converts is accepted, with position embeddings resized. A network may have a method
    ``rename_weights(weights)``, which returns weights of another origin under its own names, and the names of
    those that it left out.

    Args:
        path: ``.safetensors``, or any file that ``torch.load(weights_only=True)`` reads.

    Raises:
        CheckpointError: listing the missing, unexpected and misshapen weights.
    """
    network = getattr(backbone.network, "wrapped", backbone.network)
    own = network.state_dict()
    weights: Mapping[str, Tensor] = find_state_dict(read_checkpoint(path), path, _KEYS)
    left_out: tuple[str, ...] = ()
    if (rename := getattr(backbone.network, "rename_weights", None)) is not None:
        weights, left_out = rename(weights)
    matched = match_names(weights, own.keys())
    heads = {name for name in matched.weights if name not in own and _is_head(name, backbone.classifier)}
    body: Mapping[str, Tensor] = {n: tensor for n, tensor in matched.weights.items() if n not in heads}
    if compare_weights(body, own):
        # timm's conversion gets the head, too: it recognises older forms by the head.
        converted = _convert(network, matched.weights, path)
        body = {n: t for n, t in converted.items() if n in own or not _is_head(n, backbone.classifier)}
    if differences := compare_weights(body, own):
        raise CheckpointError(
            f"VTN.BACKBONE.CHECKPOINT = {path}: does not fit the backbone {type(network).__name__}"
            + (f" ({matched.describe()})" if matched.describe() else "")
            + f":\n{differences.listing(body, own, 'backbone')}"
        )
    network.load_state_dict(body, strict=False)
    lines = [f"backbone: loaded {len(body)} weights of {path}"]
    if removed := matched.describe():
        lines[0] += f", {removed}"
    if heads:
        lines.append(list_names("head, not loaded", sorted(heads)))
    if others := matched.others + left_out:  # of other parts of a model, or left out by the network
        lines.append(list_names("other entries, not loaded", others))
    logger.info("%s", "\n".join(lines))


def _is_head(name: str, classifier: tuple[str, ...]) -> bool:
    return name.split(".")[0] in _HEADS or name.startswith(tuple(f"{layer}." for layer in classifier))


def _convert(network: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> Mapping[str, Tensor]:
    """Returns the weights with the current names and sizes, if timm can convert older forms of the model."""
    convert: Callable[..., Any] | None = getattr(
        sys.modules[type(network).__module__], "checkpoint_filter_fn", None
    )
    if convert is None or not type(network).__module__.startswith("timm."):
        return weights
    try:
        converted = convert(dict(weights), network)
    except Exception as error:  # the function assumes weights of this model and checks nothing
        raise CheckpointError(
            f"VTN.BACKBONE.CHECKPOINT = {path}: its {len(weights)} weights, such as {next(iter(weights))}, "
            f"are not those of {type(network).__name__} ({type(error).__name__}: {error})"
        ) from error
    return {name: tensor for name, tensor in converted.items() if isinstance(tensor, Tensor)}
