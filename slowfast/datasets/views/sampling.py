"""Temporal plans: the frames of a video that form a view, as pure functions.

A plan works on *even frames*: the video divided into ``num_frames`` equal steps of ``1 / fps`` seconds. At a
constant frame rate an even frame is a frame; at a variable rate it is the frame on screen at that time.
PySlowFast's formulas, which count frames, then also hold for videos of variable frame rate.

T frames of a view, L its length in even frames.
"""

from __future__ import annotations

import math

import numpy as np

from slowfast.video.frame_times import FrameTimes

# Tolerance, in frames, for products such as rate × fps / target that are integers but for rounding.
_SLACK = 1e-3


def clip_length(times: FrameTimes, num_frames: int, sampling_rate: float, target_fps: float) -> float:
    """Returns the length L of a clip in even frames: ``sampling_rate × num_frames / target_fps × fps``."""
    return sampling_rate * num_frames / target_fps * times.fps


def _clip(times: FrameTimes, num_frames: int, length: float, start: float) -> np.ndarray:
    """Returns T frames evenly over [start, start + L − 1], as PySlowFast does; fewer where the video ends."""
    total = times.num_frames
    # The last frame of a clip starts at L − 1, so a video of L − 1 frames still contains the full clip.
    span = max(length - 1, 0.0)
    first = math.ceil(start - _SLACK)
    first = max(min(first, total - 1 - math.floor(span + _SLACK)), 0)
    offsets = np.floor(np.linspace(0.0, span, num_frames) + _SLACK).astype(np.int64)
    even = first + offsets
    return np.unique(times.at_even(even[even < total]))


def random_clip(
    times: FrameTimes, num_frames: int, sampling_rate: float, target_fps: float, rng: np.random.Generator
) -> np.ndarray:
    """Draws a training clip that starts at any frame of 0 … n − L with equal probability.

    Args:
        times: of the video, n frames.
        num_frames: T.
        sampling_rate: frames at ``target_fps`` from one frame of the clip to the next.
        target_fps: frames per second.
        rng: generator of the random start.

    Returns:
        Ascending frame indices (T',) int64, T' ≤ T: a video too short for the clip gives each of its
        frames once.
    """
    length = clip_length(times, num_frames, sampling_rate, target_fps)
    last_start = max(math.floor(times.num_frames - length + _SLACK), 0)
    return _clip(times, num_frames, length, float(rng.integers(last_start + 1)))


def centre_clip(times: FrameTimes, num_frames: int, sampling_rate: float, target_fps: float) -> np.ndarray:
    """Returns the clip in the middle of the video; arguments and result are those of :func:`random_clip`."""
    length = clip_length(times, num_frames, sampling_rate, target_fps)
    return _clip(times, num_frames, length, max(times.num_frames - length, 0.0) / 2)


def view_clip(
    times: FrameTimes, num_frames: int, sampling_rate: float, target_fps: float, view: int, num_views: int
) -> np.ndarray:
    """Returns test clip ``view`` of ``num_views``, which starts at frame max(n − L, 0) × view / num_views.

    Other arguments and the result are those of :func:`random_clip`. The formula is PySlowFast's.

    Example:
        Four of the 40 frames of a video at 20 frames per second, in the second of two views:

        >>> times = FrameTimes(seconds=np.arange(40) / 20, duration=2.0)
        >>> view_clip(times, num_frames=4, sampling_rate=2, target_fps=20, view=1, num_views=2).tolist()
        [16, 18, 20, 23]
    """
    length = clip_length(times, num_frames, sampling_rate, target_fps)
    return _clip(times, num_frames, length, max(times.num_frames - length, 0.0) * view / num_views)


def whole_video(times: FrameTimes, num_frames: int, target_fps: float) -> np.ndarray:
    """Returns the frames of a full-video view.

    Args:
        times: of the video.
        num_frames: N > 0: N frames uniformly over the video (all frames of a shorter video);
            0: every frame at ``target_fps`` (all frames of a slower video).
        target_fps: frames per second.

    Returns:
        Ascending frame indices, int64, each at most once.
    """
    total = times.num_frames
    if num_frames > 0:
        count = min(num_frames, total)
        # floor(linspace(0, n − 1, N)) in integer arithmetic, which does not round.
        even = np.arange(count, dtype=np.int64) * (total - 1) // max(count - 1, 1)
    else:
        step = max(times.fps / target_fps, 1.0)
        even = np.floor(np.arange(math.ceil(total / step - _SLACK)) * step + _SLACK).astype(np.int64)
    return np.unique(times.at_even(even))
