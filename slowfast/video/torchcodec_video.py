"""The same frames through torchcodec, where it and FFmpeg's libraries are installed.

What frames there are is said by the packet table of :class:`PyAVVideo`; torchcodec decodes, and is believed
where it returns the timestamps of that table. Elsewhere, and where timestamps lie, PyAV reads.

T frames, H W pixels.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from slowfast.video.placement import Placement, Placer, whole_picture
from slowfast.video.pyav_video import PyAVVideo

# Frames that are held unscaled at a time.
_CHUNK = 32


@cache
def torchcodec_version() -> str | None:
    """Torchcodec's version; None where it, or the FFmpeg libraries that it needs, cannot be loaded."""
    try:
        import torchcodec
        from torchcodec.decoders import VideoDecoder

        VideoDecoder(b"no video")
    except (ImportError, OSError):
        return None
    except (RuntimeError, ValueError) as error:
        # It loads its libraries late: this is their refusal of the bytes, or the failure to load them.
        return None if "Could not load" in str(error) else str(torchcodec.__version__)
    return None


class TorchCodecVideo(PyAVVideo):
    """An open video file; see :class:`PyAVVideo`. Scaling is torchvision's, within 38 dB of swscale's."""

    def read(self, indices: np.ndarray, placer: Placer | None = None) -> np.ndarray:
        indices = np.asarray(indices, np.int64)
        decoder = self._decoder()
        if decoder is None:
            return super().read(indices, placer)
        parts, place = [], None
        for start in range(0, len(indices), _CHUNK):
            chunk = indices[start : start + _CHUNK]
            frames = self._frames_of(decoder, chunk)  # (t, H, W, 3)
            if frames is None:
                return super().read(indices, placer)
            place = place or (placer or whole_picture())(*frames.shape[1:3])
            parts.append(_placed(frames, place))
        return np.concatenate(parts) if parts else super().read(indices, placer)

    def _decoder(self) -> Any:
        """Torchcodec's decoder; None where the table and it disagree about the frames there are."""
        from torchcodec.decoders import VideoDecoder

        is_path = isinstance(self._source, str | os.PathLike)
        if not is_path or self._table.pts is None or self._table.damaged:
            return None
        try:
            decoder = VideoDecoder(self.name, dimension_order="NHWC")
        except (RuntimeError, ValueError):
            return None
        return decoder if len(decoder) == self.times.num_frames else None

    def _frames_of(self, decoder: Any, indices: np.ndarray) -> torch.Tensor | None:
        assert self._table.pts is not None
        try:
            batch = decoder.get_frames_at(indices.tolist())
        except (RuntimeError, IndexError, ValueError):
            return None
        expected = self._table.pts[indices] * float(self._packets.stream.time_base)
        given = batch.pts_seconds.numpy()
        # A whole frame off would be at least half of a frame's time away.
        return batch.data if np.allclose(given, expected, rtol=0, atol=0.4 / self.times.fps) else None


def _placed(frames: torch.Tensor, place: Placement) -> np.ndarray:
    """Scales, crops and flips frames (t, H, W, 3)."""
    images = frames.permute(0, 3, 1, 2)  # a view: torchvision is fastest on channels-last memory
    if tuple(frames.shape[1:3]) != (place.height, place.width):
        how = InterpolationMode(place.interpolation)
        images = tvf.resize(images, [place.height, place.width], how, antialias=True)
    images = images[
        ..., place.top : place.top + place.crop_height, place.left : place.left + place.crop_width
    ]
    if place.flip:
        images = images.flip(3)
    return images.permute(0, 2, 3, 1).contiguous().numpy()
