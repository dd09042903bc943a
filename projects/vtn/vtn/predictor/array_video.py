"""Frames in memory, read as a video file is read.

T frames of a video, t frames of a read, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import av
import numpy as np

from slowfast.video.frame_scaler import FrameScaler
from slowfast.video.frame_times import FrameTimes
from slowfast.video.placement import Placer, full_frame


class ArrayVideo:
    """Frames in memory with the interface of an open video file.

    Args:
        frames: (T, H, W, 3) uint8 RGB, at least one.
        fps: frames per second.
    """

    def __init__(self, frames: np.ndarray, fps: float) -> None:
        self._frames = frames
        self._times = FrameTimes(np.arange(len(frames)) / fps, len(frames) / fps)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes nothing."""

    @property
    def times(self) -> FrameTimes:
        """The display times of the T frames."""
        return self._times

    def read(self, indices: np.ndarray, placer: Placer | None = None) -> np.ndarray:
        """Returns the placed frames of the given indices, (t, H, W, 3) uint8."""
        indices = self._times.checked(indices, "frames")
        scaler = FrameScaler(len(indices), placer or full_frame(), "frames")
        for slot, index in enumerate(indices.tolist()):
            image = np.ascontiguousarray(self._frames[index])
            scaler.put(av.VideoFrame.from_ndarray(image, format="rgb24"), [slot])
        return scaler.frames()

    def read_chunks(
        self,
        indices: np.ndarray,
        size: int,
        placer: Placer | None = None,
        missing: set[int] | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields the frames of ascending indices in chunks of ``size``; none of them can be missing."""
        for start in range(0, len(indices), size):
            yield self.read(indices[start : start + size], placer)
