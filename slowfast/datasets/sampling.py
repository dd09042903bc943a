"""Which frames of a video make a view: temporal plans as pure functions.

A plan works on *even frames*: the video cut into ``num_frames`` equal steps of ``1 / fps`` seconds. Where
the frame rate is constant an even frame is a frame; where it varies, it is the frame on screen at that
time. So PySlowFast's formulas, which count frames, also hold for videos of variable frame rate.

T frames of a view, L its length in even frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Slack, in frames, for products such as rate × fps / target that should be whole and are not in binary.
_SLACK = 1e-3


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


def clip_length(times: FrameTimes, num_frames: int, sampling_rate: float, target_fps: float) -> float:
    """Length L of a clip in even frames: ``sampling_rate × num_frames / target_fps × fps``."""
    return sampling_rate * num_frames / target_fps * times.fps


def _clip(times: FrameTimes, num_frames: int, length: float, start: float) -> np.ndarray:
    """T frames evenly over [start, start + L − 1], as PySlowFast takes them; fewer where the video ends."""
    total = times.num_frames
    # A video of length - 1 frames still holds the whole clip, and nothing below one frame is a clip.
    span = max(length - 1, 0.0)
    first = math.ceil(start - _SLACK)
    first = max(min(first, total - 1 - math.floor(span + _SLACK)), 0)
    offsets = np.floor(np.linspace(0.0, span, num_frames) + _SLACK).astype(np.int64)
    even = first + offsets
    return np.unique(times.at_even(even[even < total]))


def random_clip(
    times: FrameTimes, num_frames: int, sampling_rate: float, target_fps: float, rng: np.random.Generator
) -> np.ndarray:
    """Training: a clip that starts at any frame of 0 … n − L with equal chance.

    Returns:
        Ascending frame indices (T',) int64, T' ≤ T: a video too short for the clip gives the frames it
        has, none twice.
    """
    length = clip_length(times, num_frames, sampling_rate, target_fps)
    last_start = max(math.floor(times.num_frames - length + _SLACK), 0)
    return _clip(times, num_frames, length, float(rng.integers(last_start + 1)))


def centre_clip(times: FrameTimes, num_frames: int, sampling_rate: float, target_fps: float) -> np.ndarray:
    """Validation: the clip in the middle of the video. Returns as :func:`random_clip`."""
    length = clip_length(times, num_frames, sampling_rate, target_fps)
    return _clip(times, num_frames, length, max(times.num_frames - length, 0.0) / 2)


def view_clip(
    times: FrameTimes, num_frames: int, sampling_rate: float, target_fps: float, view: int, num_views: int
) -> np.ndarray:
    """Test: the clip that starts at max(n − L, 0) × view / views. Returns as :func:`random_clip`."""
    length = clip_length(times, num_frames, sampling_rate, target_fps)
    return _clip(times, num_frames, length, max(times.num_frames - length, 0.0) * view / num_views)


def whole_video(times: FrameTimes, num_frames: int, target_fps: float) -> np.ndarray:
    """Whole-video evaluation.

    Args:
        num_frames: N > 0: N frames spread uniformly over the video (all, where it has no more);
            0: every frame at ``target_fps`` (all, where the video is slower).

    Returns:
        Ascending frame indices, int64, none twice.
    """
    total = times.num_frames
    if num_frames > 0:
        count = min(num_frames, total)
        # Whole-number arithmetic of floor(linspace(0, n − 1, N)).
        even = np.arange(count, dtype=np.int64) * (total - 1) // max(count - 1, 1)
    else:
        step = max(times.fps / target_fps, 1.0)
        even = np.floor(np.arange(math.ceil(total / step - _SLACK)) * step + _SLACK).astype(np.int64)
    return np.unique(times.at_even(even))
