"""Times at which the frames of a video are shown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from slowfast.errors import DecodeError, InputError

# Containers that store milliseconds may give a time half a millisecond late. Of frames that are shorter it is
# half a frame.
_ROUNDING_SECONDS = 6e-4


@dataclass(frozen=True)
class FrameTimes:
    """The display times of the N frames of a video.

    Attributes:
        seconds: (N,) float64, ascending; the first frame is at 0.
        duration: seconds from the start of the first frame to the end of the last one.
        centres: (N,) float64, the times that positions are computed from, where an entry stands for several
            frames: the middle of its first and its last frame. None: ``seconds``.

    Example:
        >>> times = FrameTimes(np.array([0.0, 0.1, 0.2, 0.7]), duration=0.8)  # 0.5 s without a new frame
        >>> times.num_frames, times.fps, times.is_constant
        (4, 5.0, False)
        >>> times.at_seconds(np.array([0.05, 0.5, 0.75])).tolist()
        [0, 2, 3]
    """

    seconds: np.ndarray
    duration: float
    centres: np.ndarray | None = None

    @property
    def num_frames(self) -> int:
        """N."""
        return len(self.seconds)

    @property
    def position_seconds(self) -> np.ndarray:
        """Times (N,) in seconds that positions are computed from."""
        return self.seconds if self.centres is None else self.centres

    @cached_property
    def fps(self) -> float:
        """Mean frame rate in frames per second."""
        return self.num_frames / self.duration

    @cached_property
    def is_constant(self) -> bool:
        """True where each frame is within half a frame of an even grid (containers round to milliseconds)."""
        even = np.arange(self.num_frames) / self.fps
        return bool(np.all(np.abs(self.seconds - even) < 0.5 / self.fps))

    def checked(self, indices: ArrayLike, name: str) -> np.ndarray:
        """Returns frame indices (T,) as int64.

        Args:
            name: of the video, for the error.

        Raises:
            InputError: for an index outside [0, N), and for what is not a list of whole numbers.
        """
        given = np.asarray(indices)
        # An empty list is one of floats; a mask of booleans would be read as frames 0 and 1.
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise InputError(
                f"{name}: indices have shape {given.shape} and dtype {given.dtype}: must be whole numbers "
                "(frames,); of a mask give np.flatnonzero(mask)"
            )
        chosen = given.astype(np.int64)
        wrong = chosen[(chosen < 0) | (chosen >= self.num_frames)]
        if len(wrong):
            raise InputError(
                f"{name}: frame index {wrong[0]} does not exist; give indices from 0 to {self.num_frames - 1}"
            )
        return chosen

    def at_seconds(self, seconds: np.ndarray) -> np.ndarray:
        """Returns the index (int64) of the frame on screen at each time.

        Times before the first frame give the first frame, times after the last frame the last one.

        Raises:
            InputError: for a time that is not a number.
        """
        try:
            moments = np.asarray(seconds, np.float64)
        except (TypeError, ValueError) as error:
            raise InputError("times in seconds must be numbers, such as [0.5, 1.0]") from error
        if np.isnan(moments).any():
            raise InputError("a time in seconds is NaN; give times from the first frame on")
        index = np.maximum(np.searchsorted(self.seconds, moments, side="right") - 1, 0)
        following = np.minimum(index + 1, self.num_frames - 1)
        starts = self.seconds[following]
        late = np.minimum(_ROUNDING_SECONDS, (starts - self.seconds[index]) / 2)
        return np.where(moments >= starts - late, following, index).astype(np.int64)

    def cut(self, start: float, end: float) -> tuple[int, FrameTimes]:
        """Cuts out the segment between two times, in seconds from the first frame.

        Returns:
            The index of the segment's first frame (the one on screen at ``start``), and the times of the
            segment's frames, which begin at 0 again.

        Raises:
            InputError: if the video ends before ``start``.
        """
        if start >= self.duration:
            raise InputError(f"starts at {start:g} s, but the video ends at {self.duration:.3f} s")
        first = int(self.at_seconds(np.array([start]))[0])
        # A frame that begins within a millisecond, or half a frame, of the segment's end is not part of it.
        margin = min(1e-3, 0.5 / self.fps)
        last = max(int(np.searchsorted(self.seconds, end - margin, side="left")), first + 1)
        stop = self.seconds[last] if last < self.num_frames else self.duration
        begin = self.seconds[first]
        if not self.is_constant:
            # A frame may be on screen long before the segment starts, or after it ends.
            begin, stop = max(begin, start), min(stop, end)
        centres = None if self.centres is None else np.maximum(self.centres[first:last] - begin, 0.0)
        seconds = np.maximum(self.seconds[first:last] - begin, 0.0)
        return first, FrameTimes(seconds, float(stop - begin), centres)

    def cut_segment(self, segment: tuple[float, float] | None, path: str) -> tuple[int, FrameTimes]:
        """Cuts out a segment of a file as :meth:`cut` does; without one the result is (0, these times).

        Args:
            segment: start and end in seconds; None: the full file.
            path: of the file, for the error.

        Raises:
            DecodeError: with the reason ``segment outside`` if the file ends before the segment starts.
        """
        if segment is None:
            return 0, self
        try:
            return self.cut(*segment)
        except InputError as error:
            raise DecodeError(path, "segment outside", str(error)) from error


def even_times(count: int, rate: float) -> FrameTimes:
    """Returns the times of frames at an even rate in frames per second."""
    return FrameTimes(np.arange(count) / rate, count / rate)
