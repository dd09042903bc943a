"""Construction of a backbone from ``transformers``: an image model or a clip encoder, by its model type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slowfast.checkpoint.needed_weights import NeededWeights
from vtn.backbones.base import Backbone
from vtn.backbones.clips.hugging_face_clips import FAMILIES, build_clip_encoder
from vtn.backbones.hugging_face.files import WEIGHT_FILES, read_configuration, with_options
from vtn.backbones.hugging_face.images import build_image_model
from vtn.backbones.published import cached_on_hub


def locate_weights(name: str) -> NeededWeights:
    """Returns the weights on the hub, and the copy of the hub's client; or those in a folder."""
    return NeededWeights(name, f"https://huggingface.co/{name}", cached_on_hub(name, WEIGHT_FILES))


def build(name: str, *, pretrained: bool, options: Mapping[str, Any], pooling: str) -> Backbone:
    """Returns the backbone of that name; see :func:`vtn.backbones.build.build_backbone`.

    Args:
        name: name of a model on the hub, a local folder, or a model type such as ``dinov2`` or ``vjepa2``
            (random weights only, no download).
        options: changes of the configuration; ``dynamic_img_size`` True resizes the position embeddings.

    Raises:
        ModelError: for an unknown name, an option or pooling that the model does not have, weights that
            cannot be downloaded.
    """
    options = dict(options)
    resize = bool(options.pop("dynamic_img_size", False))
    config = with_options(read_configuration(name), options, f"hf:{name}")
    build_family = build_clip_encoder if config.model_type in FAMILIES else build_image_model
    return build_family(name, config, pretrained=pretrained, resize_positions=resize, pooling=pooling)
