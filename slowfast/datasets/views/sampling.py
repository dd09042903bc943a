"""Which frames of a video make a view: temporal plans as pure functions.

A plan works on *even frames*: the video cut into ``num_frames`` equal steps of ``1 / fps`` seconds. Where
the frame rate is constant an even frame is a frame; where it varies, it is the frame on screen at that
time. So PySlowFast's formulas, which count frames, also hold for videos of variable frame rate.

T frames of a view, L its length in even frames.
"""

from __future__ import annotations

import math

import numpy as np

from slowfast.video.frame_times import FrameTimes

# Slack, in frames, for products such as rate × fps / target that should be whole and are not in binary.
_SLACK = 1e-3


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
