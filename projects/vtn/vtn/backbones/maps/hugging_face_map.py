"""Feature maps of the image models of Hugging Face ``transformers``.

Shapes: N images, L tokens, h w height and width of a map, F width of a feature.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vtn.backbones.maps.feature_map import FeatureMap, check_stage, from_tokens

_FINAL_NORMS = ("layernorm", "post_layernorm", "norm", "layer_norm")


def hugging_face_map(network: Any, images: Tensor, stage: int) -> FeatureMap:
    """Returns a map of a :class:`vtn.backbones.hugging_face.images.HuggingFaceBackbone`.

    See :data:`vtn.backbones.maps.feature_map.MapFunction`. All blocks are computed, whatever the stage.

    Raises:
        ModelError: for a stage that the model does not have.
    """
    if stage == 0:
        tokens = _normalized(network, network.run(images)["last_hidden_state"])
    else:
        states = network.run(images, output_hidden_states=True)["hidden_states"]
        check_stage(stage, len(states) - 1)
        tokens = states[stage]
        norm = _final_norm(network.model, tokens.shape[-1])
        tokens = norm(tokens) if tokens.ndim == 3 and norm is not None else tokens
    if tokens.ndim == 4:
        return FeatureMap(tokens.permute(0, 2, 3, 1))
    return from_tokens(tokens, network.prefix_tokens, images, has_class_token=network.has_class_token)


def _normalized(network: Any, tokens: Tensor) -> Tensor:
    """Applies the final norm where the model applies it to the pooled feature only: CLIP and BEiT do."""
    if network.has_class_token and hasattr(network.model, "post_layernorm"):
        return network.model.post_layernorm(tokens)
    pooler_norm = getattr(getattr(network.model, "pooler", None), "layernorm", None)
    if network.own_pooling == "mean" and tokens.ndim == 3 and pooler_norm is not None:
        return pooler_norm(tokens)
    return tokens


def _final_norm(model: nn.Module, width: int) -> nn.Module | None:
    """Returns the norm after the last block; None where it is missing or has another width."""
    for name in _FINAL_NORMS:
        norm = getattr(model, name, None)
        if isinstance(norm, nn.Module) and getattr(norm, "normalized_shape", (width,))[-1] == width:
            return norm
    return None
