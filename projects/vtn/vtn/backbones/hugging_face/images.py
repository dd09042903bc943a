"""Image models of Hugging Face ``transformers``, and image encoders of image-and-text models.

Shapes: N images, L tokens, F width of a feature, h w grid of patches, p side of a patch in pixels.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from slowfast.errors import ModelError
from slowfast.log import get_logger
from vtn.backbones.base import DEFAULT_MEAN, DEFAULT_STD, Backbone
from vtn.backbones.hugging_face.files import (
    interpolation_in,
    is_model_type,
    published_model,
    random_model,
    side_of,
    with_options,
)
from vtn.backbones.maps.hugging_face_map import hugging_face_map

logger = get_logger(__name__)


class HuggingFaceBackbone(nn.Module):
    """A ``transformers`` image model with a pooling that returns one feature for each image.

    Args:
        model: has an argument ``pixel_values`` and returns ``last_hidden_state``, which is tokens (N, L, F)
            or a map (N, F, h, w), and usually ``pooler_output``.
        pooling: ``cls``, ``mean`` or ``map``; empty: the model's default.
        resize_positions: interpolate the position embeddings, so that images may have any size.

    Raises:
        ModelError: if the model does not support the pooling.
    """

    def __init__(self, model: nn.Module, pooling: str = "", *, resize_positions: bool = False) -> None:
        super().__init__()
        # A dense layer on the class token belongs to a classifier; most checkpoints do not contain it.
        if hasattr(getattr(model, "pooler", None), "dense"):
            model.pooler = None
        self.model = model
        self.resize_positions = resize_positions
        # Models for images of any aspect ratio have a list of patches as input instead of an image.
        self.takes_patches = "spatial_shapes" in inspect.signature(model.forward).parameters
        names = {name.rpartition(".")[2] for name, _ in model.named_parameters()}
        self.has_class_token = bool(names & {"cls_token", "class_embedding"})
        self.prefix_tokens = (
            self.has_class_token
            + ("distillation_token" in names)
            + (getattr(model.config, "num_register_tokens", None) or 0)
        )
        self.own_pooling = self._own_pooling()
        self.pooling = pooling or self.own_pooling
        if self.pooling != self.own_pooling and (
            self.pooling == "map" or (self.pooling == "cls" and not self.has_class_token)
        ):
            raise ModelError(
                f"VTN.BACKBONE.POOLING = {pooling!r}: {type(model).__name__} does not support it; use "
                f"{self.own_pooling}, the model's default, or mean"
            )

    def _own_pooling(self) -> str:
        """Returns the pooling that the model was trained with."""
        if hasattr(self.model, "head"):  # attention over the tokens
            return "map"
        averages = getattr(self.model.config, "use_mean_pooling", False)
        return "cls" if self.has_class_token and not averages else "mean"

    @property
    def wrapped(self) -> nn.Module:
        """Returns the inner network; its parameter names are the names in published weights."""
        return self.model

    def run(self, images: Tensor, **options: bool) -> Any:
        """Returns the model's output for images (N, 3, H, W), before pooling."""
        if self.takes_patches:
            return self.model(**_patches(images, self.model.config.patch_size), **options)
        if self.resize_positions:
            return self.model(pixel_values=images, interpolate_pos_encoding=True, **options)
        return self.model(pixel_values=images, **options)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, H, W) to features (N, F)."""
        output = self.run(images)
        # Use the model's own pooling where it is the requested one.
        pooled = output.get("pooler_output")
        if self.pooling == self.own_pooling and pooled is not None:
            return pooled.flatten(1)  # (N, F, 1, 1) or (N, F) -> (N, F)
        # Otherwise pool the map or the tokens here.
        tokens = output["last_hidden_state"]
        if tokens.ndim == 4:
            return tokens.mean((2, 3))  # (N, F, h, w) -> (N, F)
        if self.pooling == "cls":
            return tokens[:, 0]
        mean = tokens[:, self.prefix_tokens :].mean(1)
        # CLIP normalizes only the class token; SigLIP, which has none, normalizes all tokens.
        if self.has_class_token and hasattr(self.model, "post_layernorm"):
            return self.model.post_layernorm(mean)
        return mean


def build_image_model(
    name: str, config: Any, *, pretrained: bool, options: Mapping[str, Any], pooling: str
) -> Backbone:
    """Returns the image model with that configuration; see :func:`vtn.backbones.hugging_face.build.build`.

    Raises:
        ModelError: for an option or pooling that the model does not have, weights that cannot be downloaded.
    """
    options = dict(options)
    resize = bool(options.pop("dynamic_img_size", False))
    config = with_options(config, options, name)
    # Build the model on the meta device first: it shows errors and feature shapes before weights are read.
    with torch.device("meta"):
        trial = HuggingFaceBackbone(random_model(config, name), pooling, resize_positions=resize)
    trial.eval().requires_grad_(False)
    model = published_model(name, config) if pretrained else random_model(config, name)
    network = HuggingFaceBackbone(model, pooling, resize_positions=resize)
    processor = _preprocessing(name)
    image_size = side_of(getattr(config, "image_size", None)) or side_of(
        processor.get("crop_size") or processor.get("size")
    )
    size = image_size or 224
    shape = _shape_of_features(trial, size)
    if shape is None or len(shape) != 2:
        raise ModelError(
            f"backbone hf:{name}: must return one feature for an image of {size}×{size} pixels, but the "
            f"output has shape {shape}; use another model"
        )
    patch = config.patch_size if isinstance(getattr(config, "patch_size", None), int) else 1
    normalized = processor.get("do_normalize", True)
    return Backbone(
        network,
        shape[1],
        tuple(processor.get("image_mean", DEFAULT_MEAN)) if normalized else (0.0, 0.0, 0.0),
        tuple(processor.get("image_std", DEFAULT_STD)) if normalized else (1.0, 1.0, 1.0),
        image_size=image_size,
        fixed_size=_shape_of_features(trial, size + 2 * max(patch, 16)) is None,
        # Vision transformers ignore pixels at the border that do not fill a patch.
        size_multiple=patch if hasattr(config, "num_hidden_layers") else 1,
        resize_hint="set VTN.BACKBONE.ARGS.dynamic_img_size True (position embeddings are resized)",
        interpolation=interpolation_in(processor),
        classifier=("classifier", "pooler", "head"),
        feature_map=hugging_face_map,
    )


def _preprocessing(name: str) -> Mapping[str, Any]:
    """Returns the content of ``preprocessor_config.json``; empty if the file does not exist."""
    from transformers import ImageProcessingMixin

    if is_model_type(name):
        return {}
    try:
        return ImageProcessingMixin.get_image_processor_dict(name)[0]
    except OSError:
        logger.warning(
            "backbone hf:%s: has no preprocessor_config.json; frames are normalized with mean %s and std %s",
            name, DEFAULT_MEAN, DEFAULT_STD,
        )  # fmt: skip
        return {}


def _shape_of_features(trial: nn.Module, size: int) -> tuple[int, ...] | None:
    """Returns the shape of one image's features without computing them; None if the size is refused."""
    try:
        with torch.no_grad():
            return tuple(trial(torch.zeros(1, 3, size, size, device="meta")).shape)
    except (ValueError, RuntimeError):
        return None


def _patches(images: Tensor, patch: int) -> dict[str, Tensor | None]:
    """Returns images (N, 3, H, W) as rows of patches (N, L, p·p·3), with their grid sizes (N, 2)."""
    N, _, H, W = images.shape
    h, w = H // patch, W // patch
    grid = images.unflatten(3, (w, patch)).unflatten(2, (h, patch))  # (N, 3, h, p, w, p)
    rows = grid.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)  # (N, h·w, p·p·3)
    return {
        "pixel_values": rows,
        "pixel_attention_mask": None,  # no patch is padding
        "spatial_shapes": torch.tensor([[h, w]] * N, device="cpu"),
    }
