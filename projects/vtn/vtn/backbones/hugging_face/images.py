"""Backbones from Hugging Face ``transformers``: image models, and image encoders of image-and-text models.

Shapes: N images, L tokens, F width of a feature, h w grid of patches, p side of a patch in pixels.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slowfast.errors import ModelError
from slowfast.log import get_logger
from vtn.backbones.base import DEFAULT_MEAN, DEFAULT_STD, Backbone
from vtn.backbones.maps.hugging_face_map import hugging_face_map
from vtn.backbones.published import fetch

logger = get_logger(__name__)

# Entries of a configuration that are computed from other entries.
_DERIVED = frozenset({"stage_names", "out_features", "out_indices", "_out_features", "_out_indices"})
# PIL's numbers for LANCZOS and BICUBIC, as preprocessor_config.json contains them.
_BICUBIC_FILTERS = (1, 3)


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


def build(name: str, *, pretrained: bool, options: Mapping[str, Any], pooling: str) -> Backbone:
    """Returns the image model of that name; see :func:`vtn.backbones.build.build_backbone`.

    Args:
        name: name of a model on the hub, a local folder, or a model type such as ``dinov2`` (random weights
            only, no download).
        options: changes of the configuration; ``dynamic_img_size`` True resizes the position embeddings.

    Raises:
        ModelError: for an unknown name, an option or pooling that the model does not have, weights that
            cannot be downloaded.
    """
    options = dict(options)
    resize = bool(options.pop("dynamic_img_size", False))
    config = _configuration(name, options)
    # Build the model on the meta device first: it shows errors and feature shapes before weights are read.
    with torch.device("meta"):
        trial = HuggingFaceBackbone(_from_config(config, name), pooling, resize_positions=resize)
    trial.eval().requires_grad_(False)
    model = _from_hub(name, config) if pretrained else _from_config(config, name)
    network = HuggingFaceBackbone(model, pooling, resize_positions=resize)
    processor = _preprocessing(name)
    image_size = _side(getattr(config, "image_size", None)) or _side(
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
        interpolation="bicubic" if processor.get("resample") in _BICUBIC_FILTERS else "bilinear",
        classifier=("classifier", "pooler", "head"),
        feature_map=hugging_face_map,
    )


def _is_type(name: str) -> bool:
    """Returns whether a name is a model type of ``transformers``, which has no weights."""
    from transformers import CONFIG_MAPPING

    return name in CONFIG_MAPPING and not Path(name).is_dir()


def _configuration(name: str, options: Mapping[str, Any]) -> Any:
    """Returns the configuration of the image model, or of the image encoder of an image-and-text model."""
    from transformers import AutoConfig

    if _is_type(name):
        return _image_configuration(AutoConfig.for_model(name), options, name)
    config = fetch(
        lambda: AutoConfig.from_pretrained(name), backbone=f"hf:{name}", remedy=_remedy(name, "config.json")
    )
    return _image_configuration(config, options, name)


def _image_configuration(config: Any, options: Mapping[str, Any], name: str) -> Any:
    """Returns the image encoder's configuration with the options applied; refuses unknown options."""
    config = getattr(config, "vision_config", config)
    unknown = [key for key in options if not hasattr(config, key)]
    if unknown:
        known = ", ".join(sorted(key for key in type(config)().to_diff_dict() if key.islower()))
        raise ModelError(
            f"backbone hf:{name}: VTN.BACKBONE.ARGS has unknown keys {', '.join(unknown)}; "
            f"{type(config).__name__} has {known}"
        )
    return type(config)(**{**{k: v for k, v in config.to_dict().items() if k not in _DERIVED}, **options})


def _from_config(config: Any, name: str) -> nn.Module:
    """Returns the model with random weights."""
    from transformers import AutoModel

    try:
        return AutoModel.from_config(config)
    except ValueError as error:  # the installed version of transformers does not have this model type
        raise ModelError(f"backbone hf:{name}: {next(iter(str(error).splitlines()), error)}") from error


def _from_hub(name: str, config: Any) -> nn.Module:
    """Returns the model with the weights of the hub or of a local folder; refuses incomplete weights."""
    from transformers import AutoModel

    if _is_type(name):
        raise ModelError(
            f"backbone hf:{name}: is a model type and has no weights; name a model on the hub or a local "
            "folder, or set VTN.BACKBONE.PRETRAINED False"
        )
    model, report = fetch(
        lambda: AutoModel.from_pretrained(name, config=config, dtype=torch.float32, output_loading_info=True),
        backbone=f"hf:{name}",
        remedy=_remedy(name, "config.json, preprocessor_config.json and model.safetensors"),
    )
    # The pooler may be missing, since HuggingFaceBackbone removes it.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ModelError(
            f"backbone hf:{name}: the file lacks {len(missing)} weights of {type(model).__name__}: "
            f"{', '.join(missing[:10])}; check that it belongs to this model type"
        )
    return model


def _preprocessing(name: str) -> Mapping[str, Any]:
    """Returns the content of ``preprocessor_config.json``; empty if the file does not exist."""
    from transformers import ImageProcessingMixin

    if _is_type(name):
        return {}
    try:
        return ImageProcessingMixin.get_image_processor_dict(name)[0]
    except OSError:
        logger.warning(
            "backbone hf:%s: has no preprocessor_config.json; frames are normalized with mean %s and std %s",
            name, DEFAULT_MEAN, DEFAULT_STD,
        )  # fmt: skip
        return {}


def _side(size: Any) -> int | None:
    """Returns the height in pixels of a size that is a number, a pair, a dictionary, or None."""
    if isinstance(size, Mapping):
        size = size.get("height", size.get("shortest_edge"))
    if isinstance(size, list | tuple):
        size = size[0]
    return int(size) if size else None


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


def _remedy(name: str, files: str) -> str:
    """Returns the instructions for a manual download."""
    return (
        f"On a machine with internet access download {files} from\n"
        f"  https://huggingface.co/{name}/tree/main\n"
        "copy them into a folder on this machine, and set VTN.BACKBONE.NAME hf:FOLDER. With "
        "VTN.BACKBONE.PRETRAINED False only config.json is needed."
    )
