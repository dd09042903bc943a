"""Temporal plans: the frames of a video that form a view, as pure functions.

A plan works on a *grid* of times. At a constant frame rate the grid points are the frames, and the formulas
are PySlowFast's. At a variable rate the grid has ``target_fps`` points per second, and a point stands for the
frame on screen at its time: a clip then shows the same seconds as that of a video of constant rate, whatever
the mean rate is.

T frames of a view, n frames of a video, L length of a clip in grid points.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from slowfast.video.frame_times import FrameTimes

# Tolerance, in frames, for products such as rate × fps / target that are integers but for rounding.
_SLACK = 1e-3
# Containers that store milliseconds may give a time half a millisecond late.
_ROUNDING_SECONDS = 6e-4


@dataclass(frozen=True)
class _Grid:
    """The grid of a video.

    Attributes:
        times: of the video.
        rate: points per second.
        size: number of points.
    """

    times: FrameTimes
    rate: float
    size: int

    @classmethod
    def of(cls, times: FrameTimes, target_fps: float) -> _Grid:
        """Returns the grid of a video for plans at ``target_fps``."""
        if times.is_constant:
            return cls(times, times.fps, times.num_frames)
        return cls(times, target_fps, math.ceil(times.duration * target_fps - _SLACK))

    def clip(self, num_frames: int, sampling_rate: float, target_fps: float) -> float:
        """Returns the length L of a clip: ``sampling_rate × num_frames / target_fps × rate``."""
        return sampling_rate * num_frames / target_fps * self.rate

    def frames(self, num_frames: int, length: float, start: float) -> np.ndarray:
        """Returns T frames evenly over [start, start + L − 1], as PySlowFast does; fewer at the end."""
        # The last frame of a clip starts at L − 1, so a video of L − 1 points still contains the full clip.
        span = max(length - 1, 0.0)
        first = max(min(math.ceil(start - _SLACK), self.size - 1), 0)
        offsets = np.linspace(0.0, span, num_frames)
        if self.times.is_constant:
            points = first + np.floor(offsets + _SLACK).astype(np.int64)
            return np.unique(points[points < self.size])
        seconds = (first + offsets) / self.rate
        return np.unique(self.times.at_seconds(seconds[seconds < self.times.duration]))


def random_clip(
    times: FrameTimes, num_frames: int, sampling_rate: float, target_fps: float, rng: np.random.Generator
) -> np.ndarray:
    """Draws a training clip that starts at any point of 0 … n − L of the grid with equal probability.

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
    grid = _Grid.of(times, target_fps)
    length = grid.clip(num_frames, sampling_rate, target_fps)
    last_start = max(math.floor(grid.size - length + _SLACK), 0)
    return grid.frames(num_frames, length, float(rng.integers(last_start + 1)))


def centre_clip(times: FrameTimes, num_frames: int, sampling_rate: float, target_fps: float) -> np.ndarray:
    """Returns the clip in the middle of the video; arguments and result are those of :func:`random_clip`."""
    grid = _Grid.of(times, target_fps)
    length = grid.clip(num_frames, sampling_rate, target_fps)
    return grid.frames(num_frames, length, (grid.size - length) / 2)


def spread_clip(times: FrameTimes, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Draws one frame from each of T equal parts of the video (Wang et al. 2016, section 3.1).

    Args:
        times: of the video.
        num_frames: T.
        rng: generator of the random frames.

    Returns:
        Ascending frame indices (T',) int64; T' = T, or the number of frames of a shorter video. Where two
        parts would give the same frame, the later one gives the next frame.
    """
    total = times.num_frames
    if num_frames >= total:
        return np.arange(total, dtype=np.int64)
    order = np.arange(num_frames)
    points = (order + rng.random(num_frames)) / num_frames  # fractions of the video
    if times.is_constant:
        frames = np.floor(points * total).astype(np.int64)
    else:
        frames = times.at_seconds(points * times.duration)
    return _distinct(frames, total)


def spread_part(times: FrameTimes, num_frames: int, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Draws frames as :func:`spread_clip`, from a part of the video that starts at a random time.

    Args:
        times: of the video.
        num_frames: T.
        fraction: duration of the part, divided by that of the video, above 0 and at most 1.
        rng: generator of the start and of the frames.
    """
    duration = fraction * times.duration
    start = float(rng.uniform(0, times.duration - duration)) if fraction < 1 else 0.0
    first, part = times.cut(start, start + duration)
    return first + spread_clip(part, num_frames, rng)


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
    grid = _Grid.of(times, target_fps)
    length = grid.clip(num_frames, sampling_rate, target_fps)
    return grid.frames(num_frames, length, (grid.size - length) * view / num_views)


def whole_video(times: FrameTimes, num_frames: int, target_fps: float) -> np.ndarray:
    """Returns the frames of a full-video view.

    Args:
        times: of the video.
        num_frames: N > 0: N frames uniformly over the video (all frames of a shorter video);
            0: every frame at ``target_fps``, and all frames wherever the video is slower.
        target_fps: frames per second.

    Returns:
        Ascending frame indices, int64, each at most once.
    """
    total = times.num_frames
    if num_frames >= total:
        return np.arange(total, dtype=np.int64)
    if num_frames > 0:
        if not times.is_constant:
            return _uniform_frames(times, num_frames)
        # floor(linspace(0, n − 1, N)) in integer arithmetic, which does not round.
        return np.arange(num_frames, dtype=np.int64) * (total - 1) // max(num_frames - 1, 1)
    if not times.is_constant:
        return _frames_at_rate(times, target_fps)
    step = max(times.fps / target_fps, 1.0)
    return np.floor(np.arange(math.ceil(total / step - _SLACK)) * step + _SLACK).astype(np.int64)


def evenly_spaced(length: int, count: int) -> np.ndarray:
    """Returns at most ``count`` indices of ``length`` items, (n,) int64, with the first and the last one."""
    return np.unique(np.round(np.linspace(0, length - 1, count)).astype(np.int64))


def _frames_at_rate(times: FrameTimes, target_fps: float) -> np.ndarray:
    """Returns the frames of a video of variable rate, thinned to ``target_fps`` where it is faster.

    One frame is due per period: the frame on screen at that time, or the next one where that frame has been
    taken already. After a frame that is more than a period late the periods are counted from that frame.
    Therefore every frame that is on screen for a period or longer is taken.
    """
    period = 1.0 / target_fps
    seconds = times.seconds.tolist()
    taken, due = [0], seconds[0]
    while taken[-1] + 1 < len(seconds):
        due += period
        if due >= times.duration - _ROUNDING_SECONDS:
            break
        index = max(bisect_right(seconds, due + _ROUNDING_SECONDS) - 1, taken[-1] + 1)
        taken.append(index)
        if seconds[index] >= due + period:
            due = seconds[index]
    return np.array(taken, dtype=np.int64)


def _uniform_frames(times: FrameTimes, num_frames: int) -> np.ndarray:
    """Returns N of n > N frames of a video of variable rate, none twice and evenly in time where possible.

    The time for which a frame counts is limited to c seconds, with c such that the limited times of all
    frames add up to N × c. Points at a distance of c then hit each frame at most once, and each frame that is
    on screen for c or longer once.
    """
    total = times.num_frames
    durations = np.diff(times.seconds, append=times.duration)
    # With the k shortest durations below c: sum of these + (n − k) × c = N × c.
    ordered = np.sort(durations)
    k = np.arange(total - num_frames + 1, total + 1)
    candidates = np.cumsum(ordered)[k - 1] / (num_frames - total + k)
    limit = candidates[np.argmax(candidates <= np.append(ordered, np.inf)[k])]
    starts = np.concatenate([[0.0], np.cumsum(np.minimum(durations, limit))[:-1]])
    points = np.linspace(0.0, starts[-1], num_frames) + 1e-6 * limit
    frames = np.searchsorted(starts, points, side="right") - 1
    return _distinct(frames, total)  # rounding must not let two points hit one frame


def _distinct(frames: np.ndarray, total: int) -> np.ndarray:
    """Returns strictly ascending frames (T,) of ``total`` in place of ascending ones, moved where needed."""
    order = np.arange(len(frames))
    frames = np.maximum.accumulate(frames - order) + order
    return np.minimum(frames, total - len(frames) + order).astype(np.int64)
