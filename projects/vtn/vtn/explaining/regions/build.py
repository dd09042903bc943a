"""The regions of single frames, from all sources that a model has.

N frames, H W pixels, M tokens per frame, h w height and width of a map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slowfast.datasets.clip import normalize
from slowfast.errors import InputError
from slowfast.models.frame_encoder import FrameEncoder, as_tensor
from vtn.backbones.frames.encoding_network import kind_of
from vtn.explaining.frame_scorer import FrameScorer
from vtn.explaining.regions.grad_cam import grad_cam
from vtn.explaining.regions.vit_attention import class_token_attention
from vtn.frame_model import FrameModel
from vtn.model import VTN

GRAD_CAM, BACKBONE_ATTENTION, TOKEN_ATTENTION = "Grad-CAM", "backbone attention", "token attention"
DESCRIPTIONS = {
    GRAD_CAM: "Grad-CAM: places in the last map of the backbone that speak for the class",
    BACKBONE_ATTENTION: "attention of the backbone's class token to the patches, in its last block",
    TOKEN_ATTENTION: "attention to the tokens of the frame",
}


@dataclass(frozen=True, eq=False)
class Regions:
    """Maps of some frames of a video.

    Attributes:
        maps: name of the source -> (N, h, w) float32, each frame scaled so that its largest value is 1.
        note: the reason for an empty ``maps``; otherwise empty.
    """

    maps: Mapping[str, NDArray[np.float32]]
    note: str = ""


def check_regions(model: FrameModel) -> None:
    """Raises ``InputError`` where the regions of a model need a package that is not installed."""
    if model.clip_grid is None and kind_of(model.backbone) == "convolutional" and find_spec("captum") is None:
        raise InputError(
            "the regions of a convolutional backbone need the package captum: pip install "
            "'slowfast-vtn[explain]', or leave them out: --no-regions (in Python: regions=False)"
        )


def find_regions(
    encoder: FrameEncoder,
    scorer: FrameScorer,
    frames: NDArray[np.uint8],
    rows: NDArray[np.int64],
    gradient: Tensor,
) -> Regions:
    """Returns the regions of frames by all sources that the model has.

    Args:
        encoder: has the normalisation of the frames and the order of their channels.
        scorer: of the video that the frames come from.
        frames: (N, H, W, 3) uint8 RGB, as the model sees them.
        rows: (N,) the row of each frame among the features.
        gradient: see :func:`vtn.explaining.attribution.feature_gradient`.
    """
    model = scorer.model
    if model.clip_grid is not None:
        return Regions({}, "The backbone encodes clips of several frames: no single frame has regions.")
    images = as_tensor(frames).to(encoder.device).permute(3, 0, 1, 2)[None]  # (1, 3, N, H, W)
    if encoder.channels == "BGR":
        images = images.flip(1)
    images = normalize(images, *encoder.normalization)[0].transpose(0, 1).contiguous()  # (N, 3, H, W)
    found: dict[str, Tensor | None] = {}
    if kind_of(model.backbone) == "convolutional":
        index = torch.from_numpy(rows).to(gradient.device)
        found[GRAD_CAM] = grad_cam(model.backbone, model.image_features, images, gradient[index])
    else:
        found[BACKBONE_ATTENTION] = class_token_attention(model.backbone, model.image_features, images)
    found[TOKEN_ATTENTION] = _token_maps(scorer, rows)
    maps = {name: _scaled(values) for name, values in found.items() if values is not None}
    if not maps:
        name = type(model.backbone).__name__
        return Regions({}, f"The backbone ({name}) has neither a class token nor a convolutional map.")
    return Regions(maps)


@torch.no_grad()
def _token_maps(scorer: FrameScorer, rows: NDArray[np.int64]) -> Tensor | None:
    """Returns the attention to the grid of tokens, (N, rows, columns) of the grid; None without one."""
    model = scorer.model
    grid = model.token_grid
    if not isinstance(model, VTN) or grid.rows * grid.columns == 1:
        return None
    weights = model.token_attention(scorer.features, scorer.positions, scorer.mask)  # (1, T, M)
    if weights is None:
        return None
    tokens = weights[0, torch.from_numpy(rows).to(weights.device), int(grid.class_token) :]
    return tokens.unflatten(1, (grid.rows, grid.columns))


def _scaled(maps: Tensor) -> NDArray[np.float32]:
    """Returns maps (N, h, w) whose largest value is 1; maps of zeros stay as they are."""
    largest = maps.flatten(1).amax(1)[:, None, None]
    return (maps / largest.clamp_min(torch.finfo(maps.dtype).tiny)).float().cpu().numpy()
