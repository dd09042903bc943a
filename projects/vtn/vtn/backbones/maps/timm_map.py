"""Feature maps of timm's models.

Shapes: N images, H W pixels, h w height and width of a map, F width of a feature, L tokens of a transformer.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from slowfast.errors import ModelError
from vtn.backbones.maps.feature_map import FeatureMap, check_stage, from_tokens


def is_timm_model(network: nn.Module) -> bool:
    """Returns whether a network has the methods by which timm's models compute maps."""
    return hasattr(network, "forward_features") and hasattr(network, "pretrained_cfg")


def timm_map(network: Any, images: Tensor, stage: int) -> FeatureMap:
    """Returns a map of a timm model; see :data:`vtn.backbones.maps.feature_map.MapFunction`.

    The last map is the output of ``forward_features``, with the norm ``fc_norm`` of transformers. Networks
    whose final norm is a part of their head, after the pooling (ConvNeXt, DaViT, EdgeNeXt), give a map
    without it: its mean is not the pooled feature. The last block by its number is the map before
    ``fc_norm``, which differs from stage 0 for BEiT and EVA.

    Raises:
        ModelError: for a stage that the model does not have, and for models without maps.
    """
    if stage:
        return _intermediate_map(network, images, stage)
    features = network.forward_features(images)
    if not isinstance(features, Tensor) or features.ndim not in (3, 4):
        raise ModelError(
            f"VTN.BACKBONE.TOKENS: must be [1, 1] for {type(network).__name__}, whose output is not a map"
        )
    if features.ndim == 4:
        return FeatureMap(features if _is_channels_last(network, features) else features.permute(0, 2, 3, 1))
    # Models that average their patches have their final norm after the average.
    if getattr(network, "fc_norm", None) is not None:
        features = network.fc_norm(features)
    has_class_token = getattr(network, "cls_token", None) is not None
    prefix = getattr(network, "num_prefix_tokens", None)
    return from_tokens(
        features,
        int(has_class_token) if prefix is None else prefix,
        images,
        has_class_token=has_class_token,
    )


def _intermediate_map(network: Any, images: Tensor, stage: int) -> FeatureMap:
    """Returns the map after a stage or block; the stages after it are not computed."""
    if not hasattr(network, "forward_intermediates"):
        raise ModelError(
            f"VTN.BACKBONE.STAGE = {stage}: must be 0 for {type(network).__name__}, which gives its last map "
            "only"
        )
    check_stage(stage, len(network.feature_info))
    offered = inspect.signature(network.forward_intermediates).parameters
    has_class_token = getattr(network, "cls_token", None) is not None and "return_prefix_tokens" in offered
    options = {"return_prefix_tokens": True} if has_class_token else {}
    (found,) = network.forward_intermediates(
        images,
        indices=[stage - 1],
        norm=True,
        stop_early=True,
        output_fmt="NCHW",
        intermediates_only=True,
        **options,
    )
    places, prefix = found if has_class_token else (found, None)
    return FeatureMap(places.permute(0, 2, 3, 1), None if prefix is None else prefix[:, 0])


def _is_channels_last(network: Any, features: Tensor) -> bool:
    """Returns whether a map has the shape (N, h, w, F) rather than (N, F, h, w)."""
    layout = getattr(network, "output_fmt", None)
    if layout is not None:
        return str(layout).rpartition(".")[2] == "NHWC"
    width = network.num_features
    return features.shape[-1] == width and features.shape[1] != width
