"""A clip encoder with a few hundred weights, whose features depend on all frames of a clip."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.support.tiny_models import TINY, with_large_weights
from vtn import VTN
from vtn.backbones.base import BACKBONE_REGISTRY, ClipDescription

SIZE, WIDTH, TUBELET, FRAMES = 32, 8, 2, 8


@BACKBONE_REGISTRY.register("tiny_clips")
class TinyClips(nn.Module):
    """Tubelets of two frames and 8 × 8 pixels, which attend to all others of their clip.

    Args:
        accepts_shorter: see :class:`vtn.backbones.base.ClipDescription`.

    Attributes:
        clips_seen: number of frames of each clip, in the order of the calls.
    """

    feature_dim = WIDTH
    size_multiple = 8

    def __init__(self, *, accepts_shorter: bool = True) -> None:
        super().__init__()
        self.clip = ClipDescription(FRAMES, TUBELET, fps=5.0, accepts_shorter=accepts_shorter)
        self.embed = nn.Conv3d(3, WIDTH, (TUBELET, 8, 8), stride=(TUBELET, 8, 8))
        self.times = nn.Parameter(torch.randn(FRAMES // TUBELET, 1, 1, WIDTH))
        self.attend = nn.Linear(WIDTH, 2 * WIDTH)
        self.clips_seen: list[int] = []

    def forward(self, clips: Tensor) -> Tensor:
        return self.feature_map(clips).mean((2, 3))  # (N, s, F)

    def feature_map(self, clips: Tensor) -> Tensor:
        if not clips.is_meta:
            self.clips_seen += [clips.shape[2]] * len(clips)
        tokens = self.embed(clips).permute(0, 2, 3, 4, 1)  # (N, s, h, w, F)
        tokens = tokens + self.times[: tokens.shape[1]]
        rows = tokens.flatten(1, 3)
        keys, values = self.attend(rows).chunk(2, dim=-1)
        seen = nn.functional.scaled_dot_product_attention(rows, keys, values)
        return tokens + seen.view_as(tokens)


def tiny_clip_model(**changes: Any) -> VTN:
    """Returns a VTN on the tiny clip encoder in evaluation mode; ``changes`` are arguments by flat names."""
    arguments = {**TINY, "backbone_args": {}, "position": "sinusoidal", "frozen": True, **changes}
    return with_large_weights(VTN("tiny_clips", **arguments))
