"""Image models of Hugging Face ``transformers``, and image encoders of image-and-text models.

Shapes: N images, L tokens, F width of a feature, h w grid of patches, p side of a patch in pixels.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from slowfast.errors import ModelError
from vtn.backbones.base import Backbone
from vtn.backbones.hugging_face.files import published_model, random_model, side_of
from vtn.backbones.hugging_face.preprocessing import read_preprocessing
from vtn.backbones.hugging_face.token_layout import token_layout
from vtn.backbones.hugging_face.trial import accepts, width_of_features
from vtn.backbones.maps.hugging_face_map import hugging_face_map

_NORM_IN_CLASSIFIER: Mapping[str, str] = {"poolformer": "norm", "cvt": "layernorm", "swiftformer": "norm"}
"""Model type -> the final norm, for models that have it in the class of their classifier."""
_POOLING_OF_TIMM = {"token": "cls", "avg": "mean", "map": "map"}
"""timm's name of a pooling -> the name of ``VTN.BACKBONE.POOLING``."""
_NORMALIZED = ("git_vision_model", "blip_vision_model")
"""Model types that apply the norm called ``post_layernorm`` to all tokens."""
_CORRECTED = ("aimv2_vision_model", "dinov3_convnext", "pixio", "radio", "vit_mae", "yolos")
"""Model types with the reading 2, see ``Backbone``, which tells class, register and object tokens from
patches, and keeps all patches in their order. Models that take the channels as blue, green, red have it, too:
version 1 did not exchange them."""
_HEADS = ("classifier", "head", "dist_head")
"""Layers after that norm, which are left out."""


class HuggingFaceBackbone(nn.Module):
    """A ``transformers`` image model with a pooling that returns one feature for each image.

    Args:
        model: has an argument ``pixel_values`` and returns ``last_hidden_state``, which is tokens (N, L, F)
            or a map (N, F, h, w), and usually ``pooler_output``; or a classifier that contains such a model
            and its final norm.
        pooling: ``cls``, ``mean`` or ``map``; empty: the model's default.
        resize_positions: interpolate the position embeddings, so that images may have any size.
        flip_channels: the model takes blue, green, red.

    Raises:
        ModelError: if the model does not support the pooling.
    """

    def __init__(
        self, model: nn.Module, *, pooling: str, resize_positions: bool, flip_channels: bool = False
    ) -> None:
        super().__init__()
        # A dense layer on the class token belongs to a classifier; most checkpoints do not contain it.
        if hasattr(getattr(model, "pooler", None), "dense"):
            model.pooler = None
        self.norm_name = _NORM_IN_CLASSIFIER.get(model.config.model_type, "")
        for head in _HEADS if self.norm_name else ():
            if hasattr(model, head):
                setattr(model, head, nn.Identity())
        self.model = model
        self.resize_positions = resize_positions
        self.flip_channels = flip_channels
        # Models for images of any aspect ratio have a list of patches as input instead of an image.
        self.takes_patches = "spatial_shapes" in inspect.signature(self.encoder.forward).parameters
        # A masked autoencoder drops random patches in evaluation mode too. If it is to drop none of them it
        # still shuffles them.
        self.masks_patches = model.config.model_type == "vit_mae"
        if self.masks_patches:
            model.config.mask_ratio = 0.0
        self.layout = token_layout(self.encoder)
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
        of_timm = getattr(getattr(self.encoder, "timm_model", None), "global_pool", None)
        if of_timm in _POOLING_OF_TIMM:
            return _POOLING_OF_TIMM[of_timm]
        if hasattr(self.encoder, "head"):  # attention over the tokens
            return "map"
        averages = getattr(self.model.config, "use_mean_pooling", False)
        return "cls" if self.has_class_token and not averages else "mean"

    @property
    def wrapped(self) -> nn.Module:
        """The inner network; its parameter names are the names in published weights."""
        return self.model

    @property
    def encoder(self) -> nn.Module:
        """The model without its classifier."""
        return getattr(self.model, self.model.base_model_prefix) if self.norm_name else self.model

    @property
    def has_class_token(self) -> bool:
        """Whether the model has a class token: one of its tokens, or CvT's beside its map."""
        return bool(self.layout.class_tokens)

    def run(self, images: Tensor, **options: Any) -> Any:
        """Returns the model's output for images (N, 3, H, W), before pooling."""
        if self.flip_channels:
            images = images.flip(1)
        if self.takes_patches:
            return self.encoder(**_patches(images, self.model.config.patch_size), **options)
        if self.resize_positions:
            options["interpolate_pos_encoding"] = True
        if self.masks_patches:
            options["noise"] = _order(images, self.model.config.patch_size)
        output = self.encoder(pixel_values=images, **options)
        # A model type that transformers has for detectors alone, such as HGNetV2, returns its chosen maps.
        if (maps := output.get("feature_maps")) and "last_hidden_state" not in output:
            return {**output, "last_hidden_state": maps[-1]}
        return output

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, H, W) to features (N, F)."""
        return self.pool(self.run(images))

    def pool(self, output: Any) -> Tensor:
        """Returns the features (N, F) in the model's output."""
        if (own := self._own_feature(output)) is not None:
            return own
        if self.pooling == "cls":
            return self.class_token(output)
        if (tokens := self.averaged_tokens(output)) is None:
            return self.norm_of_classifier(output["last_hidden_state"]).mean((2, 3))  # (N, F, h, w) -> (N, F)
        mean = self.layout.patches(tokens).mean(1)
        # CLIP normalizes only the class token; SigLIP, which has none, normalizes all tokens.
        norm = self.norm_of_class_token
        return mean if norm is None else norm(mean)

    def averaged_tokens(self, output: Any) -> Tensor | None:
        """Returns the tokens (N, L, F) whose mean is the feature; None for other features."""
        if self.pooling == "cls" or self._own_feature(output) is not None:
            return None
        tokens = output["last_hidden_state"]
        return tokens if tokens.ndim == 3 else None

    def _own_feature(self, output: Any) -> Tensor | None:
        """Returns the feature (N, F) that the model itself makes, if that is the pooling."""
        if self.pooling != self.own_pooling:
            return None
        # RADIO calls it its summary: the class tokens of several teachers, one after the other.
        pooled = output.get("summary", output.get("pooler_output"))
        if pooled is None or pooled.shape[2:].numel() > 1:
            return None  # TextNet's classifier averages the last map, not the map of its pooler
        return pooled.flatten(1)  # (N, F, 1, 1) or (N, F) -> (N, F)

    def class_token(self, output: Any) -> Tensor:
        """Returns the class token (N, F) in the model's output."""
        beside_map = output.get("cls_token_value")  # (N, 1, F)
        if beside_map is not None:
            return self.model.get_submodule(self.norm_name)(beside_map)[:, 0]
        return self.layout.class_token(output["last_hidden_state"])

    @property
    def norm_of_class_token(self) -> nn.Module | None:
        """The final norm, where the model applies it to the class token alone, as CLIP does; else None."""
        if not self.has_class_token or self.model.config.model_type in _NORMALIZED:
            return None
        inner = getattr(self.model, "vision_model", self.model)  # OWL-ViT has a model in its model
        return getattr(inner, "post_layernorm", None)

    def norm_of_classifier(self, places: Tensor) -> Tensor:
        """Applies the norm that the classifier has to a map (N, F, h, w), if it has one."""
        if not self.norm_name:
            return places
        norm = self.model.get_submodule(self.norm_name)
        if isinstance(norm, nn.LayerNorm):  # over the last dimension
            return norm(places.movedim(1, -1)).movedim(-1, 1)
        return norm(places)


def build_image_model(
    name: str, config: Any, *, pretrained: bool, resize_positions: bool, pooling: str
) -> Backbone:
    """Returns the image model with that configuration; see :func:`vtn.backbones.hugging_face.build.build`.

    Raises:
        ModelError: for a pooling that the model does not have, weights that cannot be downloaded, and models
            that do not return one feature per image.
    """
    auto_class = _class_of(config)
    build_random = partial(random_model, config, name, auto_class=auto_class)
    wrap = partial(HuggingFaceBackbone, pooling=pooling, resize_positions=resize_positions)
    # Build the model on the meta device first: it shows errors and feature shapes before weights are read.
    with torch.device("meta"):
        trial = wrap(build_random())
    trial.eval().requires_grad_(False)
    stated = read_preprocessing(name, config)
    trained_for = side_of(getattr(config, "image_size", None))
    size = trained_for or stated.size or 224
    feature_dim = width_of_features(trial, size, f"hf:{name}")
    patch = config.patch_size if isinstance(getattr(config, "patch_size", None), int) else 1
    fixed_size = not accepts(trial, size + 2 * max(patch, 16))
    # The size of the table of positions is not that of the images which the processor makes.
    if not fixed_size and stated.size and accepts(trial, stated.size):
        trained_for = stated.size
    model = _load(name, config, auto_class, trial) if pretrained else build_random()
    return Backbone(
        wrap(model, flip_channels=stated.flips_channels),
        feature_dim,
        stated.mean,
        stated.std,
        image_size=trained_for or stated.size,
        fixed_size=fixed_size,
        # Vision transformers ignore pixels at the border that do not fill a patch.
        size_multiple=patch if hasattr(config, "num_hidden_layers") else 1,
        resize_hint="set VTN.BACKBONE.ARGS.dynamic_img_size True (position embeddings are resized)",
        interpolation=stated.interpolation,
        classifier=("pooler", *_HEADS),
        feature_map=hugging_face_map,
        reading=2 if stated.flips_channels or config.model_type in _CORRECTED else 1,
    )


def _load(name: str, config: Any, auto_class: str, trial: HuggingFaceBackbone) -> nn.Module:
    """Returns the model with its published weights.

    Args:
        auto_class: see :func:`_class_of`.
        trial: the same model on the meta device, which shows the names of its weights.
    """
    # A file of a whole image-and-text model has the encoder under a name of its own.
    nested = auto_class.startswith("Auto") or hasattr(trial.model, "vision_model")
    renamed = None if nested else {r"^vision_model\.": ""}
    unused = ("pooler.", *(f"{head}." for head in _HEADS if trial.norm_name))
    return published_model(name, config, auto_class=auto_class, unused=unused, key_mapping=renamed)


def _class_of(config: Any) -> str:
    """Returns the name of the class of ``transformers`` that builds the image model."""
    import transformers

    if config.model_type in _NORM_IN_CLASSIFIER:
        return "AutoModelForImageClassification"
    # AutoModel does not know the image encoders of some image-and-text models.
    own = type(config).__name__.removesuffix("Config") + "Model"
    known = type(config) in transformers.MODEL_MAPPING
    return own if not known and hasattr(transformers, own) else "AutoModel"


def _order(images: Tensor, patch: int) -> Tensor:
    """Returns numbers (N, L) by which the patches of images (N, 3, H, W) keep their order when sorted."""
    N, _, H, W = images.shape
    L = (H // patch) * (W // patch)
    return torch.arange(L, device=images.device, dtype=torch.float32).expand(N, L)


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
