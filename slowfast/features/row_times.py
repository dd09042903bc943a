"""The times and frame numbers of the rows of a feature file, one row per frame or per time step.

R rows, n rows of a view, T frames of a video that were encoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from slowfast.datasets.views.view_reader import Scheme, Segment, ViewReader
from slowfast.files import atomic_write
from slowfast.models.clip_grid import ClipGrid
from slowfast.video.frame_times import FrameTimes


@dataclass(frozen=True)
class RowTimes:
    """The frames that rows of features stand for.

    Attributes:
        times: display times of the first frame of each row; ``centres`` where rows stand for several frames.
        numbers: (R,) int64, ascending, the number of the first frame of each row in the source video.
        centres: (R,) int64, the frame in the middle of each row, rounded down; None: ``numbers``.
    """

    times: FrameTimes
    numbers: NDArray[np.int64]
    centres: NDArray[np.int64] | None = None

    @classmethod
    def of_frames(cls, times: FrameTimes, indices: NDArray[np.int64], grid: ClipGrid | None) -> Self:
        """Returns the times of the rows that are computed from frames of a video.

        Args:
            times: of all frames of the video.
            indices: (T,) int64, ascending, the encoded frames.
            grid: clips and time steps of the model; None: one row per frame.
        """
        if grid is None:
            return cls(FrameTimes(times.seconds[indices], times.duration), indices)
        first, last = grid.step_frames(len(indices))
        start, end = times.seconds[indices[first]], times.seconds[indices[last]]
        middle = (indices[first] + indices[last]) // 2
        return cls(FrameTimes(start, times.duration, (start + end) / 2), indices[first], middle)

    def select(self, chosen: NDArray[np.bool_]) -> Self:
        """Returns the times of the chosen rows (R,), at least one; the first is valid from second 0."""
        seconds = self.times.seconds[chosen]
        seconds[0] = 0.0
        middle = None if self.times.centres is None else self.times.centres[chosen]
        centres = None if self.centres is None else self.centres[chosen]
        return type(self)(FrameTimes(seconds, self.times.duration, middle), self.numbers[chosen], centres)

    def positions(self, rate: float | None, base: int = 0) -> NDArray[np.int64]:
        """Returns the positions (R,) int64 of the rows for a model with that ``position_rate``.

        Args:
            rate: positions per second; None: positions are frame numbers.
            base: frame number that counts as 0, where positions are frame numbers.
        """
        if rate is None:
            return np.asarray(self.numbers if self.centres is None else self.centres, np.int64) - base
        return np.round(self.times.position_seconds * rate).astype(np.int64)

    def table(self, num_frames: int) -> NDArray[np.float64]:
        """Returns the rows as the array of a file.

        It is (2, R + 1): the seconds of each row, then the duration of the video; and the frame number of
        each row, then the number of all frames. Where rows stand for several frames, two more rows hold the
        same of their middle.

        Args:
            num_frames: number of frames in the video.
        """
        table = [np.append(self.times.seconds, self.times.duration), np.append(self.numbers, num_frames)]
        if self.centres is not None:
            table.append(np.append(self.times.position_seconds, self.times.duration))
            table.append(np.append(self.centres, num_frames))
        return np.stack([row.astype(np.float64) for row in table])

    @classmethod
    def from_table(cls, table: NDArray[np.float64]) -> Self:
        """Returns the rows in an array of :meth:`table`.

        Raises:
            ValueError: for an array of another shape.
        """
        if table.ndim != 2 or table.shape[0] not in (2, 4) or table.shape[1] < 2:
            raise ValueError(f"times have shape {table.shape}, not (2 or 4, rows + 1)")
        centres = table[2:, :-1] if len(table) == 4 else None
        times = FrameTimes(table[0, :-1], float(table[0, -1]), None if centres is None else centres[0])
        numbers = table[1, :-1].astype(np.int64)
        return cls(times, numbers, None if centres is None else centres[1].astype(np.int64))


def plan_rows(
    scheme: Scheme,
    position_rate: float | None,
    row_times: RowTimes,
    path: str,
    view: int,
    rng: np.random.Generator,
    segment: Segment | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the rows (n,) of a view and their positions (n,), as if the R rows were the frames of a video.

    Args:
        row_times: times and frame numbers of the R rows.
        path: the video, for messages.
        segment: start and end in seconds; None: the whole video.

    Raises:
        DecodeError: where the view does not exist in the video.
    """
    rows, positions = ViewReader(scheme, position_rate).plan(row_times.times, path, view, rng, segment)
    if position_rate is None:
        # Positions count rows from the first one of the segment; the model needs frames of the source.
        base = int(row_times.numbers[rows[0] - positions[0]])
        positions = row_times.positions(None, base)[rows]
    return rows, positions


def write_table(path: Path, table: NDArray[np.float64]) -> None:
    """Writes an array of :meth:`RowTimes.table` to a file, atomically."""
    with atomic_write(path) as temporary:
        np.save(temporary, table)
