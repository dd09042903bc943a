"""Evaluation views as the original VTN reads them, for the evaluation of published weights only.

It repeats frames where a video is short, counts positions from the start of the clip, takes ten seconds for
the full video, and resizes in float, bilinearly and without antialiasing. T frames, n decoded frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from slowfast.datasets.views.view_reader import ClipViews, Segment, WholeVideoViews
from slowfast.video.pyav_video import PyAVVideo

# Frames per call of the resize in float, which bounds its memory.
_CHUNK = 16


@dataclass(frozen=True)
class OriginalViewReader:
    """A reader of views, used in place of :class:`~slowfast.datasets.views.view_reader.ViewReader`."""

    scheme: ClipViews | WholeVideoViews

    def read(
        self, path: str, view: int, crop: int, rng: np.random.Generator, segment: Segment | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns frames (3, T, H, W) float32 in 0 … 255, and positions (T,) int64 relative to the clip.

        ``segment`` must be None: the original reads full files only.

        Raises:
            DecodeError: where the video cannot be decoded.
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
                F.interpolate(
                    chunk.permute(0, 3, 1, 2).float(), (place.height, place.width), mode="bilinear"
                )[..., place.top : place.top + place.crop_height, place.left : place.left + place.crop_width]
                for chunk in frames.split(_CHUNK)
            ]
        )
        return resized.transpose(0, 1), positions

    def _frames(self, video: PyAVVideo, view: int) -> tuple[np.ndarray, Tensor]:
        """Returns the indices (n,) of the frames that the original decodes, and its choice of them (T,)."""
        scheme = self.scheme
        total, fps = video.times.num_frames, float(video.rate)
        all_frames = np.arange(total)
        if isinstance(scheme, WholeVideoViews):
            length = scheme.num_frames / scheme.target_fps * fps
            return all_frames, _evenly_spaced(0, min(total, length - 1), scheme.num_frames, total)

        length = scheme.sampling_rate * scheme.num_frames / scheme.target_fps * fps
        ticks_per_frame = video.claimed_ticks_per_frame
        # Without a duration in the header the original decodes all frames and selects the clip from them.
        count = total if ticks_per_frame is None else video.claimed_frames
        start = max(count - length, 0) * view / scheme.num_temporal
        end = start + length - 1
        if ticks_per_frame is None or video.pts is None:
            return all_frames, _evenly_spaced(start, end, scheme.num_frames, total)
        first = np.searchsorted(video.pts, int(start * ticks_per_frame), side="left")
        # The original stops at the first frame after the end, and keeps that frame.
        last = np.searchsorted(video.pts, int(end * ticks_per_frame), side="right")
        decoded = all_frames[first : last + 1]
        return decoded, _evenly_spaced(0, length - 1, scheme.num_frames, len(decoded))


def _evenly_spaced(start: float, end: float, num_frames: int, total: int) -> Tensor:
    """Returns T indices evenly spaced from ``start`` to ``end``, clamped to [0, total) and truncated."""
    return torch.linspace(start, end, num_frames).clamp(0, total - 1).long()
