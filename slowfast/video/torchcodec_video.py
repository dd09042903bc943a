"""The frames of a video through torchcodec, where torchcodec and FFmpeg's libraries are installed.

The frame table of :class:`PyAVVideo` states which frames exist. Torchcodec decodes them; its frames are used
if they have the timestamps of that table. Otherwise, where timestamps are wrong, and for chunks and streams,
PyAV decodes.

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

from slowfast.timing.stage_times import TRANSFORMING, measure
from slowfast.video.archive.member import TarMember
from slowfast.video.frame_scaler import SharedPlacement
from slowfast.video.placement import Placement
from slowfast.video.pyav_video import PyAVVideo

# Number of frames that are held unscaled at a time.
_CHUNK = 32


@cache
def torchcodec_version() -> str | None:
    """Returns torchcodec's version; None if it, or the FFmpeg libraries that it needs, cannot be loaded."""
    try:
        import torchcodec
        from torchcodec.decoders import VideoDecoder

        VideoDecoder(b"not a video")
    except (ImportError, OSError):
        return None
    except (RuntimeError, ValueError) as error:
        # It loads its libraries late: either they refused the bytes, or they could not be loaded.
        return None if "Could not load" in str(error) else str(torchcodec.__version__)
    return None


class TorchCodecVideo(PyAVVideo):
    """An open video file; see :class:`PyAVVideo`. Torchvision scales, with 38 dB PSNR to swscale's frames."""

    def _read(self, indices: np.ndarray, placement: SharedPlacement) -> np.ndarray:
        decoder = self._decoder()
        if decoder is None:
            return super()._read(indices, placement)
        parts = []
        for start in range(0, len(indices), _CHUNK):
            chunk = indices[start : start + _CHUNK]
            frames = self._frames_of(decoder, chunk)  # (t, H, W, 3)
            if frames is None or tuple(frames.shape[1:3]) != self.size:
                return super()._read(indices, placement)
            place = placement.of_size(*frames.shape[1:3])
            with measure(TRANSFORMING):
                parts.append(_place(frames, place))
        return np.concatenate(parts) if parts else super()._read(indices, placement)

    def _decoder(self) -> Any:
        """Returns torchcodec's decoder; None if it would show other frames, or not upright ones."""
        from torchcodec.decoders import VideoDecoder

        is_path = isinstance(self._source, str | os.PathLike)
        if not is_path or self._table.pts is None or self._table.damaged or self._table.lost:
            return None
        if not self._packets.is_upright:
            return None
        stream = self._packets.stream.index
        source = self._source.open() if isinstance(self._source, TarMember) else self.name
        try:
            decoder = VideoDecoder(source, stream_index=stream, dimension_order="NHWC")
        except (RuntimeError, ValueError):
            return None
        return decoder if len(decoder) == self.times.num_frames else None

    def _frames_of(self, decoder: Any, indices: np.ndarray) -> torch.Tensor | None:
        """Returns (t, H, W, 3) uint8; None if torchcodec fails, or gives frames of other times."""
        assert self._table.pts is not None
        try:
            batch = decoder.get_frames_at(indices.tolist())
        except (RuntimeError, IndexError, ValueError):
            return None
        expected = self._table.pts[indices] * float(self._packets.stream.time_base)
        given = batch.pts_seconds.numpy()
        # A neighbouring frame would be at least half of a frame's time away.
        return batch.data if np.allclose(given, expected, rtol=0, atol=0.4 / self.times.fps) else None


def _place(frames: torch.Tensor, place: Placement) -> np.ndarray:
    """Returns frames (t, H, W, 3), scaled, cropped and flipped."""
    images = frames.permute(0, 3, 1, 2)  # a view: torchvision is fastest on channels-last memory
    if tuple(frames.shape[1:3]) != (place.height, place.width):
        mode = InterpolationMode(place.interpolation)
        images = tvf.resize(images, [place.height, place.width], mode, antialias=True)
    cropped = torch.from_numpy(place.crop(images.permute(0, 2, 3, 1).numpy()))
    return (cropped.flip(2) if place.flip else cropped.contiguous()).numpy()
