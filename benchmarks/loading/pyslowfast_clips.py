"""A data set that loads training clips as PySlowFast does, for comparison; an independent implementation.

All frames of the clip's time span are decoded and converted to RGB. Then 16 of them are selected, resized as
floats to the jittered short side, cropped, flipped and normalized; workers return float32 batches.
"""

from __future__ import annotations

import math
import random

import av
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

MARGIN_TICKS = 1024
EXTRA_FRAMES = 5  # decoded after the end of the span, since B-frames may be out of order


class EagerClips(Dataset[Tensor]):
    """A data set whose items are frames (3, T, S, S) float32 and normalized.

    Args:
        paths: one video per item.
        num_frames: T.
        sampling_rate: distance of two selected frames, in frames at ``target_fps``.
        target_fps: frames per second to which ``sampling_rate`` refers.
        short_sides: range of the jittered short side in pixels.
        crop_size: S, in pixels.
    """

    def __init__(
        self,
        paths: list[str],
        *,
        num_frames: int,
        sampling_rate: int,
        target_fps: int,
        short_sides: tuple[int, int],
        crop_size: int,
    ) -> None:
        self._paths = paths
        self._num_frames = num_frames
        self._seconds = num_frames * sampling_rate / target_fps
        self._short_sides = short_sides
        self._crop_size = crop_size
        self._mean, self._std = torch.tensor([0.45] * 3), torch.tensor([0.225] * 3)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Tensor:
        frames = self._decode(self._paths[index])  # (N, H, W, 3) uint8
        chosen = torch.linspace(0, len(frames) - 1, self._num_frames).long().clamp(0, len(frames) - 1)
        clip = frames[chosen].float().permute(3, 0, 1, 2)  # (3, T, H, W)
        return self._augment(clip)

    def _decode(self, path: str) -> Tensor:
        """Returns all frames (N, H, W, 3) uint8 of a random time span with the length of a clip."""
        with av.open(path) as container:
            stream = container.streams.video[0]
            length = self._seconds * float(stream.average_rate or 25)
            start = random.uniform(0, max(stream.frames - length, 0))
            ticks = (stream.duration or 0) / stream.frames
            first, last = int(start * ticks), int((start + length - 1) * ticks)
            container.seek(max(first - MARGIN_TICKS, 0), any_frame=False, backward=True, stream=stream)
            frames, extra = {}, 0
            for frame in container.decode(video=0):
                if frame.pts < first:
                    continue
                frames[frame.pts] = frame
                if frame.pts > last:
                    extra += 1
                    if extra >= EXTRA_FRAMES:
                        break
            inside = [frames[pts].to_rgb().to_ndarray() for pts in sorted(frames)]
        return torch.as_tensor(np.stack(inside))

    def _augment(self, clip: Tensor) -> Tensor:
        """Resizes, crops, flips and normalizes a clip: (3, T, H, W) in 0 … 255 -> (3, T, S, S)."""
        height, width = clip.shape[2:]
        short = round(random.uniform(*self._short_sides))
        if width < height:
            size = math.floor(height / width * short), short
        else:
            size = short, math.floor(width / height * short)
        clip = F.interpolate(clip, size=size, mode="bilinear", align_corners=False)
        top = random.randint(0, size[0] - self._crop_size)
        left = random.randint(0, size[1] - self._crop_size)
        clip = clip[:, :, top : top + self._crop_size, left : left + self._crop_size]
        if random.random() < 0.5:
            clip = clip.flip(-1)
        shape = (3, 1, 1, 1)
        return ((clip / 255.0) - self._mean.view(shape)) / self._std.view(shape)
