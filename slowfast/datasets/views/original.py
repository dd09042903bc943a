"""The original VTN's reading of evaluation views, for published weights and nothing else.

Its frames, repeated where a video is short, its positions relative to the clip, its ten-second "whole
video", and its float bilinear resize without antialiasing. T frames, n decoded frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from slowfast.datasets.views.view_reader import ClipViews, Segment, WholeVideoViews
from slowfast.video.pyav_video import PyAVVideo

# Frames that are resized in float at a time.
_CHUNK = 16


@dataclass(frozen=True)
class OriginalViewReader:
    """Takes the place of :class:`~slowfast.datasets.views.view_reader.ViewReader`."""

    scheme: ClipViews | WholeVideoViews

    def read(
        self, path: str, view: int, crop: int, rng: np.random.Generator, segment: Segment | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns frames (3, T, H, W) float32 in 0 … 255, and positions (T,) int64 relative to the clip.

        The original knows whole files only: ``segment`` is None.
        """
        assert segment is None, "build_dataset refuses annotations with segments"
        with PyAVVideo(path) as video:
            decoded, positions = self._frames(video, view)
            frames = torch.from_numpy(video.read(decoded[positions.numpy()]))
        height, width = frames.shape[1:3]
        place = self.scheme.placer(crop, rng)(height, width)
        resized = torch.cat(
            [
                # (t, H, W, 3) -> (t, 3, h, w)
                F.interpolate(part.permute(0, 3, 1, 2).float(), (place.height, place.width), mode="bilinear")[
                    ..., place.top : place.top + place.crop_height, place.left : place.left + place.crop_width
                ]
                for part in frames.split(_CHUNK)
            ]
        )
        return resized.transpose(0, 1), positions

    def _frames(self, video: PyAVVideo, view: int) -> tuple[np.ndarray, Tensor]:
        """Indices (n,) of the frames that the original decodes, and which of those it takes (T,)."""
        scheme = self.scheme
        total, fps = video.times.num_frames, video.average_rate
        everything = np.arange(total)
        if isinstance(scheme, WholeVideoViews):
            length = scheme.num_frames / scheme.target_fps * fps
            return everything, _spread(0, min(total, length - 1), scheme.num_frames, total)

        length = scheme.sampling_rate * scheme.num_frames / scheme.target_fps * fps
        ticks_per_frame = video.claimed_ticks_per_frame
        # Without a duration in the header the original decodes everything and takes the clip from that.
        count = total if ticks_per_frame is None else video.claimed_frames
        start = max(count - length, 0) * view / scheme.num_temporal
        end = start + length - 1
        if ticks_per_frame is None or video.pts is None:
            return everything, _spread(start, end, scheme.num_frames, total)
        first = np.searchsorted(video.pts, int(start * ticks_per_frame), side="left")
        # It stops at the first frame after the end, and keeps it.
        last = np.searchsorted(video.pts, int(end * ticks_per_frame), side="right")
        decoded = everything[first : last + 1]
        return decoded, _spread(0, length - 1, scheme.num_frames, len(decoded))


def _spread(start: float, end: float, num_frames: int, total: int) -> Tensor:
    """T places evenly from ``start`` to ``end``, kept within [0, total), truncated."""
    return torch.linspace(start, end, num_frames).clamp(0, total - 1).long()
