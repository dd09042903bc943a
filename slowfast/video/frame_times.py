"""Times at which the frames of a video are shown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class FrameTimes:
    """When each frame of a video is shown.

    Attributes:
        seconds: (N,) float64, ascending; the first frame is at 0.
        duration: seconds from the first frame's appearance to the last one's end.
    """

    seconds: np.ndarray
    duration: float

    @property
    def num_frames(self) -> int:
        return len(self.seconds)

    @cached_property
    def fps(self) -> float:
        """Mean frame rate."""
        return self.num_frames / self.duration

    @cached_property
    def is_constant(self) -> bool:
        """Whether each frame is within half a frame of its even place (containers round to milliseconds)."""
        even = np.arange(self.num_frames) / self.fps
        return bool(np.all(np.abs(self.seconds - even) < 0.5 / self.fps))

    def at_even(self, even: np.ndarray) -> np.ndarray:
        """Frame indices (int64) for even frames (integers in [0, N))."""
        if self.is_constant:
            return even.astype(np.int64)
        return self.at_seconds(even / self.fps)

    def at_seconds(self, seconds: np.ndarray) -> np.ndarray:
        """Index of the frame on screen at each time; times outside the video give its first or last frame."""
        # Containers that round to milliseconds may be half of one late.
        index = np.searchsorted(self.seconds, np.asarray(seconds, np.float64) + 6e-4, side="right") - 1
        return np.clip(index, 0, self.num_frames - 1).astype(np.int64)

    def cut(self, start: float, end: float) -> tuple[int, FrameTimes]:
        """The part of the video between two times, in seconds from its first frame.

        Returns:
            The index of the first frame of the part (on screen at ``start``), and the part's own times.

        Raises:
            ValueError: when the video ends before ``start``.
        """
        if start >= self.duration:
            raise ValueError(f"starts at {start:g} s, but the video ends at {self.duration:.3f} s")
        first = int(self.at_seconds(np.array([start]))[0])
        # A millisecond of slack, as above: a frame that begins where the part ends is not in it.
        last = max(int(np.searchsorted(self.seconds, end - 1e-3, side="left")), first + 1)
        stop = self.seconds[last] if last < self.num_frames else self.duration
        begin = self.seconds[first]
        return first, FrameTimes(self.seconds[first:last] - begin, float(stop - begin))
