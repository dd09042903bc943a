"""Clip encoders from pytorchvideo: its networks for video classification without their heads.

Clip lengths and sampling rates are those in the model zoo of pytorchvideo (docs/source/model_zoo.md,
"frame length x sample rate"), its frame rate of 30 per second and its normalisation those of the examples on
PyTorch Hub. "8x8" of a SlowFast network names its slow pathway: the fast one gets 32 frames at rate 2.

Shapes: N clips, t frames, s time steps, F width of a feature.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from slowfast.checkpoint.needed_weights import NeededWeights
from slowfast.errors import CheckpointError, ModelError, did_you_mean
from slowfast.models.pytorchvideo.clip_network import ClipNetwork, importing_pytorchvideo
from vtn.backbones.base import ARGS_REMEDY, Backbone, ClipDescription
from vtn.backbones.clips.pytorchvideo_encoders import (
    ClipEncoder,
    ConvolutionalEncoder,
    MViTEncoder,
    SlowFastEncoder,
    drop_head,
)
from vtn.backbones.frames.trial import meta_copy
from vtn.backbones.maps.feature_map import own_map
from vtn.backbones.published import cached_download, download_once
from vtn.backbones.weight_files import load_backbone_weights

FRAME_RATE = 30.0
"""Frames per second of the videos from which pytorchvideo's clips are sampled."""


@dataclass(frozen=True)
class Recipe:
    """The clips that the published weights of a network were trained on.

    Attributes:
        kind: ``resnet``, ``slowfast``, ``csn``, ``r2plus1d``, ``x3d`` or ``mvit``.
        frames: frames of a clip.
        sampling_rate: distance between the frames of a clip, in frames of a video at 30 per second.
        crop_size: height and width of a frame in pixels.
    """

    kind: str
    frames: int
    sampling_rate: int
    crop_size: int = 224


RECIPES: Mapping[str, Recipe] = {
    "c2d_r50": Recipe("resnet", 8, 8),
    "i3d_r50": Recipe("resnet", 8, 8),
    "slow_r50": Recipe("resnet", 8, 8),
    "slowfast_r50": Recipe("slowfast", 32, 2),
    "slowfast_r101": Recipe("slowfast", 32, 2),
    "slowfast_16x8_r101_50_50": Recipe("slowfast", 64, 2),
    "csn_r101": Recipe("csn", 32, 2),
    "r2plus1d_r50": Recipe("r2plus1d", 16, 4),
    "x3d_xs": Recipe("x3d", 4, 12, 160),
    "x3d_s": Recipe("x3d", 13, 6, 160),
    "x3d_m": Recipe("x3d", 16, 5),
    "x3d_l": Recipe("x3d", 16, 5, 312),
    "mvit_base_16x4": Recipe("mvit", 16, 4),
    "mvit_base_32x3": Recipe("mvit", 32, 3),
}
"""Names in ``pytorchvideo.models.hub`` -> their recipes."""

_CREATORS = {
    "resnet": "pytorchvideo.models.resnet:create_resnet",
    "slowfast": "pytorchvideo.models.slowfast:create_slowfast",
    "csn": "pytorchvideo.models.csn:create_csn",
    "r2plus1d": "pytorchvideo.models.r2plus1d:create_r2plus1d",
    "x3d": "pytorchvideo.models.x3d:create_x3d",
    "mvit": "pytorchvideo.models.vision_transformers:create_multiscale_vision_transformers",
}
# Arguments of the creation functions that are not accepted: those of the input's channels, of the head, which
# is removed, and of connections from the fast to the slow pathway that are functions.
_EXCLUDED = re.compile(
    r"input_channels?$|model_num_class$|dropout_rate$|head|input_clip_length$|input_crop_size$|fusion_builder$"
)
_SIZES = frozenset({"num_frames", "temporal_size", "spatial_size"})
# Python's message about an argument that the function of that name passes, too.
_FIXED = re.compile(r"multiple values for keyword argument '(\w+)'")


def names() -> list[str]:
    """Returns the names of all networks, without the prefix ``pytorchvideo:``."""
    return list(RECIPES)


def published_url(name: str) -> str:
    """Returns the address of the published weights of a network."""
    with importing_pytorchvideo():
        from pytorchvideo.models import hub
    return sys.modules[getattr(hub, name).__module__].checkpoint_paths[name]


def build(name: str, *, pretrained: bool, options: Mapping[str, Any], pooling: str) -> Backbone:
    """Returns pytorchvideo's network of that name; see :func:`vtn.backbones.build.build_backbone`.

    Args:
        name: a name in :data:`RECIPES`.
        options: arguments of the network's creation function, without those of the head; for convolutional
            networks also ``num_frames``, the frames of a clip. The frames of MViT are ``temporal_size``.

    Raises:
        ModelError: for an unknown name, an option that the network does not have or that the name fixes, any
            pooling, weights that cannot be downloaded or do not fit.
    """
    if name not in RECIPES:
        hint = did_you_mean(name, list(RECIPES), otherwise=f"choose one of {', '.join(RECIPES)}")
        raise ModelError(f"backbone pytorchvideo:{name}: must be a clip network of pytorchvideo; {hint}")
    if pooling:
        raise ModelError(
            f"VTN.BACKBONE.POOLING = {pooling!r}: must be '' for pytorchvideo's networks, whose features are "
            "means over the places of a time step"
        )
    recipe, options = RECIPES[name], dict(options)
    _check_options(name, recipe, options)
    # The frames of a clip are an argument of MViT only; convolutions compute clips of every length.
    frames = options.get("temporal_size") or options.pop("num_frames", recipe.frames)
    crop = options.get("spatial_size", recipe.crop_size)
    encoder, head = _encoder(name, recipe, options, frames)
    encoder.tubelet, width = _try(name, encoder, crop, options)
    backbone = Backbone(
        encoder,
        width,
        ClipNetwork.frame_mean,
        ClipNetwork.frame_std,
        image_size=crop,
        fixed_size=recipe.kind == "mvit",
        resize_hint="set VTN.BACKBONE.ARGS.spatial_size to the crop size (published weights do not fit then)",
        classifier=head,
        feature_map=own_map,
        clip=ClipDescription(
            frames,
            encoder.tubelet,
            FRAME_RATE / recipe.sampling_rate,
            accepts_shorter=encoder.steps_are_independent,
        ),
    )
    if pretrained:
        _load_published(name, backbone, options)
    return backbone


def _check_options(name: str, recipe: Recipe, options: Mapping[str, Any]) -> None:
    """Raises ``ModelError`` for options that the network lacks or that concern its head, and wrong sizes."""
    with importing_pytorchvideo():
        create = pkgutil.resolve_name(_CREATORS[recipe.kind])
    known = [key for key in inspect.signature(create).parameters if not _EXCLUDED.match(key)]
    known += [] if recipe.kind == "mvit" else ["num_frames"]
    if unknown := [key for key in options if key not in known]:
        raise ModelError(
            f"backbone pytorchvideo:{name}: VTN.BACKBONE.ARGS has unknown keys {', '.join(unknown)}; without "
            f"its head the network has {', '.join(sorted(known))}"
        )
    for key in _SIZES & options.keys():
        if not isinstance(options[key], int) or options[key] < 1:
            raise ModelError(f"VTN.BACKBONE.ARGS.{key} = {options[key]!r}: must be an integer, 1 or more")


def _encoder(
    name: str, recipe: Recipe, options: Mapping[str, Any], frames: int
) -> tuple[ClipEncoder, tuple[str, ...]]:
    """Returns the network without its head, and the names of the head's layers in published weights."""
    try:
        if recipe.kind == "mvit":
            # The creation function computes with tensors, which the meta device does not allow.
            device = torch.get_default_device()
            with torch.device("cpu"):
                network = _create(name, **options, head=None)
            return MViTEncoder(network.to(device), frames), ("head",)
        blocks, head = drop_head(_create(name, **options, model_num_class=1).blocks)
        family = SlowFastEncoder if recipe.kind == "slowfast" else ConvolutionalEncoder
        return family(blocks, frames), head
    except Exception as error:  # the creation functions assume sensible values and check few
        if fixed := _FIXED.search(str(error)):
            raise ModelError(
                f"VTN.BACKBONE.ARGS.{fixed[1]} = {options[fixed[1]]!r}: must not be set, since the name "
                f"pytorchvideo:{name} determines it"
            ) from error
        raise ModelError(
            f"backbone pytorchvideo:{name} with {dict(options)}: {_reason(error)}; {ARGS_REMEDY}"
        ) from error


def _create(name: str, **options: Any) -> Any:
    """Returns the network from ``pytorchvideo.models.hub`` with random weights."""
    with importing_pytorchvideo():
        from pytorchvideo.models import hub
    return getattr(hub, name)(pretrained=False, **options)


def _try(name: str, encoder: ClipEncoder, crop: int, options: Mapping[str, Any]) -> tuple[int, int]:
    """Returns frames per time step and F, found by a trial on the meta device.

    Raises:
        ModelError: if the network cannot encode clips of its length, or the length is not a multiple of the
            frames per time step.
    """
    trial, frames, recipe = meta_copy(encoder).eval(), encoder.frames, RECIPES[name]
    takes_any_length = recipe.kind != "mvit"

    def shape_for(frames: int) -> torch.Size:
        with torch.no_grad():
            return trial.stage_map(torch.zeros(1, 3, frames, crop, crop, device="meta"), 0).shape

    try:
        shape = shape_for(frames)
        # A convolution rounds the number of time steps up: only multiples of the tubelet double exactly. The
        # published networks need no second trial.
        is_published = not options and frames == recipe.frames
        exact = is_published or not takes_any_length or shape_for(2 * frames)[2] == 2 * shape[2]
    except Exception as error:  # torch raises many types of errors about shapes
        raise ModelError(
            f"backbone pytorchvideo:{name} with {dict(options)}: must encode clips of {frames} frames of "
            f"{crop}×{crop} pixels, but cannot ({_reason(error)}); see VTN.BACKBONE.ARGS"
        ) from error
    if not exact or frames % shape[2]:
        key = "num_frames" if takes_any_length else "temporal_size"
        raise ModelError(
            f"backbone pytorchvideo:{name}: VTN.BACKBONE.ARGS.{key} = {frames}: must be a multiple of the "
            f"frames per time step, as {recipe.frames} is"
        )
    return frames // shape[2], shape[1]


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def locate_weights(name: str) -> NeededWeights:
    """Returns the published weights of the encoder, and torch's copy of them.

    Raises:
        KeyError: for an unknown name.
    """
    if name not in RECIPES:
        raise KeyError(name)
    url = published_url(name)
    return NeededWeights(name, url, cached_download(url))


def _load_published(name: str, backbone: Backbone, options: Mapping[str, Any]) -> None:
    """Downloads the published weights unless the file is present, and loads them.

    pytorchvideo's own loading may run code that a file contains; here only tensors are read.
    """
    path = download_once(published_url(name), f"pytorchvideo:{name}")
    try:
        load_backbone_weights(backbone, path)
    except CheckpointError as error:
        changed = f" as VTN.BACKBONE.ARGS {dict(options)} changes it" if options else ""
        raise ModelError(
            f"backbone pytorchvideo:{name}: the published weights do not fit the network{changed}; set "
            f"VTN.BACKBONE.PRETRAINED False for random weights.\n{error}"
        ) from error
