"""Backbones from Hugging Face ``transformers``: image models, and the image towers of text-and-image models.

N images, L tokens, F width of a feature.
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
from vtn.backbones.published import fetch

logger = get_logger(__name__)

# Entries of a configuration that follow from others.
_DERIVED = frozenset({"stage_names", "out_features", "out_indices", "_out_features", "_out_indices"})
# Numbers of PIL's filters in preprocessor_config.json: LANCZOS and BICUBIC.
_FINE_FILTERS = (1, 3)


class HuggingFaceBackbone(nn.Module):
    """Makes one feature an image of what a ``transformers`` image model returns.

    Args:
        model: takes ``pixel_values`` and returns ``last_hidden_state``, tokens or a map, and mostly
            ``pooler_output``.
        pooling: ``cls``, ``mean`` or ``map``; empty: the model's own.
        resize_positions: resize its position embeddings to images of any size.

    Raises:
        ModelError: where the model has no such pooling.
    """

    def __init__(self, model: nn.Module, pooling: str = "", *, resize_positions: bool = False) -> None:
        super().__init__()
        # A dense layer on the class token belongs to a classifier, and most checkpoints do not have it.
        if hasattr(getattr(model, "pooler", None), "dense"):
            model.pooler = None
        self.model = model
        self.resize_positions = resize_positions
        # Images of any aspect as a list of patches, each a row.
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
                f"VTN.BACKBONE.POOLING = {pooling!r}: {type(model).__name__} does not have it; use "
                f"{self.own_pooling}, its own, or mean"
            )

    def _own_pooling(self) -> str:
        if hasattr(self.model, "head"):  # attention over the tokens
            return "map"
        averages = getattr(self.model.config, "use_mean_pooling", False)
        return "cls" if self.has_class_token and not averages else "mean"

    @property
    def wrapped(self) -> nn.Module:
        """The network whose names published weights have."""
        return self.model

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N, 3, H, W) to (N, F)."""
        if self.takes_patches:
            output = self.model(**_patches(images, self.model.config.patch_size))
        elif self.resize_positions:
            output = self.model(pixel_values=images, interpolate_pos_encoding=True)
        else:
            output = self.model(pixel_values=images)
        pooled = output.get("pooler_output")
        if self.pooling == self.own_pooling and pooled is not None:
            return pooled.flatten(1)
        tokens = output["last_hidden_state"]
        if tokens.ndim == 4:
            return tokens.mean((2, 3))  # (N, F, h, w) -> (N, F)
        if self.pooling == "cls":
            return tokens[:, 0]
        mean = tokens[:, self.prefix_tokens :].mean(1)
        # CLIP's tokens are not normalised yet; SigLIP's, which have no class token, are.
        if self.has_class_token and hasattr(self.model, "post_layernorm"):
            return self.model.post_layernorm(mean)
        return mean


def build(name: str, *, pretrained: bool, options: Mapping[str, Any], pooling: str) -> Backbone:
    """Returns the image model of that name; see :func:`vtn.backbones.build.build_backbone`.

    Args:
        name: of a model on the hub, a local folder, or (for random weights, without a network) a type of
            model such as ``dinov2``.
        options: change its configuration; ``dynamic_img_size`` True resizes its position embeddings.

    Raises:
        ModelError: for an unknown name, options or pooling that it does not take, weights that cannot be had.
    """
    options = dict(options)
    resize = bool(options.pop("dynamic_img_size", False))
    config = _configuration(name, options)
    with torch.device("meta"):  # to see what it does before anything is read
        trial = HuggingFaceBackbone(_from_config(config, name), pooling, resize_positions=resize)
    trial.eval().requires_grad_(False)
    model = _from_hub(name, config) if pretrained else _from_config(config, name)
    network = HuggingFaceBackbone(model, pooling, resize_positions=resize)
    said = _preprocessing(name)
    image_size = _side(getattr(config, "image_size", None)) or _side(
        said.get("crop_size") or said.get("size")
    )
    size = image_size or 224
    shape = _shape_of_features(trial, size)
    if shape is None or len(shape) != 2:
        raise ModelError(f"backbone hf:{name}: gives no feature for an image of {size}×{size} (but {shape})")
    patch = config.patch_size if isinstance(getattr(config, "patch_size", None), int) else 1
    normalized = said.get("do_normalize", True)
    return Backbone(
        network,
        shape[1],
        tuple(said.get("image_mean", DEFAULT_MEAN)) if normalized else (0.0, 0.0, 0.0),
        tuple(said.get("image_std", DEFAULT_STD)) if normalized else (1.0, 1.0, 1.0),
        image_size=image_size,
        fixed_size=_shape_of_features(trial, size + 2 * max(patch, 16)) is None,
        # Transformers of one resolution would leave out what does not fill a patch.
        size_multiple=patch if hasattr(config, "num_hidden_layers") else 1,
        resize_hint="set VTN.BACKBONE.ARGS.dynamic_img_size True (position embeddings are resized)",
        interpolation="bicubic" if said.get("resample") in _FINE_FILTERS else "bilinear",
        classifier=("classifier", "pooler", "head"),
    )


def _is_type(name: str) -> bool:
    """Whether a name is that of a type of model, not of one with weights."""
    from transformers import CONFIG_MAPPING

    return name in CONFIG_MAPPING and not Path(name).is_dir()


def _configuration(name: str, options: Mapping[str, Any]) -> Any:
    """The configuration of the image model: of its image tower where it also reads text."""
    from transformers import AutoConfig

    if _is_type(name):
        return _image_part(AutoConfig.for_model(name), options, name)
    config = fetch(
        lambda: AutoConfig.from_pretrained(name), backbone=f"hf:{name}", remedy=_remedy(name, "config.json")
    )
    return _image_part(config, options, name)


def _image_part(config: Any, options: Mapping[str, Any], name: str) -> Any:
    config = getattr(config, "vision_config", config)
    unknown = [key for key in options if not hasattr(config, key)]
    if unknown:
        known = ", ".join(sorted(key for key in type(config)().to_diff_dict() if key.islower()))
        raise ModelError(
            f"backbone hf:{name}: {type(config).__name__} has no {', '.join(unknown)} (VTN.BACKBONE.ARGS). "
            f"It has {known}"
        )
    return type(config)(**{**{k: v for k, v in config.to_dict().items() if k not in _DERIVED}, **options})


def _from_config(config: Any, name: str) -> nn.Module:
    from transformers import AutoModel

    try:
        return AutoModel.from_config(config)
    except ValueError as error:  # a kind of model that the installed version does not have
        raise ModelError(f"backbone hf:{name}: {next(iter(str(error).splitlines()), error)}") from error


def _from_hub(name: str, config: Any) -> nn.Module:
    from transformers import AutoModel

    if _is_type(name):
        raise ModelError(
            f"backbone hf:{name}: is a type of model and has no weights; name a model of the hub or a "
            "folder, or set VTN.BACKBONE.PRETRAINED False"
        )
    model, report = fetch(
        lambda: AutoModel.from_pretrained(name, config=config, dtype=torch.float32, output_loading_info=True),
        backbone=f"hf:{name}",
        remedy=_remedy(name, "config.json, preprocessor_config.json and model.safetensors"),
    )
    # A pooler that the checkpoint lacks is not used.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ModelError(
            f"backbone hf:{name}: its weights lack {len(missing)} of {type(model).__name__}: "
            f"{', '.join(missing[:10])}; is it another kind of model?"
        )
    return model


def _preprocessing(name: str) -> Mapping[str, Any]:
    """What ``preprocessor_config.json`` says; empty where there is none."""
    from transformers import ImageProcessingMixin

    if _is_type(name):
        return {}
    try:
        return ImageProcessingMixin.get_image_processor_dict(name)[0]
    except OSError:
        logger.warning(
            "backbone hf:%s: has no preprocessor_config.json; its normalisation is taken to be %s, %s",
            name, DEFAULT_MEAN, DEFAULT_STD,
        )  # fmt: skip
        return {}


def _side(size: Any) -> int | None:
    """Height in pixels of what configurations give as a number, a pair, or a dictionary."""
    if isinstance(size, Mapping):
        size = size.get("height", size.get("shortest_edge"))
    if isinstance(size, list | tuple):
        size = size[0]
    return int(size) if size else None


def _shape_of_features(trial: nn.Module, size: int) -> tuple[int, ...] | None:
    """Shape of the features of one image of that size, None where the model refuses it; computes nothing."""
    try:
        with torch.no_grad():
            return tuple(trial(torch.zeros(1, 3, size, size, device="meta")).shape)
    except (ValueError, RuntimeError):
        return None


def _patches(images: Tensor, patch: int) -> dict[str, Tensor | None]:
    """Images (N, 3, H, W) as (N, L, patch·patch·3) rows, with the grid (N, 2) that they come from."""
    N, _, H, W = images.shape
    h, w = H // patch, W // patch
    grid = images.unflatten(3, (w, patch)).unflatten(2, (h, patch))  # (N, 3, h, p, w, p)
    rows = grid.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)  # (N, h·w, p·p·3)
    return {
        "pixel_values": rows,
        "pixel_attention_mask": None,  # all are real
        "spatial_shapes": torch.tensor([[h, w]] * N, device="cpu"),
    }


def _remedy(name: str, files: str) -> str:
    return (
        f"On a machine with a network get {files} from\n  https://huggingface.co/{name}/tree/main\nplace "
        "them in a folder here, and set VTN.BACKBONE.NAME hf:FOLDER. With VTN.BACKBONE.PRETRAINED False, its "
        "config.json is enough."
    )
