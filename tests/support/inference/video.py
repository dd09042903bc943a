"""A video whose features are extracted, and what the extraction must give."""

from __future__ import annotations

from pathlib import Path

import torch

from slowfast.datasets.clip import Normalization, normalize
from slowfast.features.cache import Variant
from slowfast.video.decoding import decode
from vtn import VTN
from vtn.inference.extract import FrameView

VIEW = FrameView(5.0, Variant(16, 16), Normalization((0.45,) * 3, (0.225,) * 3))
FRAMES = 180  # at 25 frames per second; every fifth frame is used


@torch.no_grad()
def features_at_once(model: VTN, video_path: Path) -> torch.Tensor:
    """Returns the features of the video's frames, computed in one call."""
    frames = torch.from_numpy(decode(video_path, indices=range(0, FRAMES, 5), size=16))
    return model.encode_frames(normalize(frames.permute(3, 0, 1, 2)[None], *VIEW.normalization))[0]
