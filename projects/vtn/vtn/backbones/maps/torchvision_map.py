"""Feature maps of torchvision's models, read from inside the network while it runs.

Shapes: N images, h w height and width of a map, F width of a feature.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from slowfast.errors import ModelError
from vtn.backbones.maps.early_exit import output_of
from vtn.backbones.maps.feature_map import FeatureMap, check_stage, from_tokens

_TRUNKS = ("features", "trunk_output", "blocks")
"""Names of modules whose children are the stages of a network; the last child gives the last map."""

_STAGES = (("layer1", "layer2", "layer3", "layer4"), ("stage2", "stage3", "stage4", "conv5"))
"""Names of the stages of ResNets and ShuffleNets, which have no common parent."""


def torchvision_map(network: Any, images: Tensor, stage: int) -> FeatureMap:
    """Returns a map of a torchvision model; see :data:`vtn.backbones.maps.feature_map.MapFunction`.

    The stages after it, and the classifier, are not computed.

    Raises:
        ModelError: for a stage that the model does not have, and for models without a known map.
    """
    if hasattr(network, "class_token"):  # a vision transformer
        layers = list(network.encoder.layers)
        check_stage(stage, len(layers))
        tokens = output_of(layers[stage - 1] if stage else network.encoder, lambda: network(images))
        tokens = network.encoder.ln(tokens) if stage else tokens
        return from_tokens(tokens, 1, images, has_class_token=True)
    stages = _stages(network)
    check_stage(stage, len(stages))
    # Swin transformers have maps (N, h, w, F), and a norm after the last one.
    channels_last = hasattr(network, "permute") and hasattr(network, "norm")
    module = stages[stage - 1]
    if stage == 0 and channels_last:
        module = network.norm
    found = output_of(module, lambda: network(images))
    return FeatureMap(found if channels_last else found.permute(0, 2, 3, 1))


def _stages(network: nn.Module) -> list[nn.Module]:
    for names in _STAGES:
        if all(hasattr(network, name) for name in names):
            return [network.get_submodule(name) for name in names]
    for name in _TRUNKS:
        if hasattr(network, name):
            return list(network.get_submodule(name).children())
    raise ModelError(
        f"VTN.BACKBONE.TOKENS: the feature map of torchvision's {type(network).__name__} is unknown; use "
        "[1, 1], or register a module with feature_map() in BACKBONE_REGISTRY"
    )
