"""The rows of features of a stream: their queue, and their making from pushed frames.

T frames of a push, R rows, M tokens, F width of a feature. There is one row per frame, or per time step for
models that encode clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import NamedTuple

import torch
from torch import Tensor

from slowfast.models.frame_encoder import FrameEncoder, SequenceEncoder


class StreamRows(NamedTuple):
    """Rows of features and the frames that they stand for.

    Attributes:
        features: (R, F) or (R, M, F).
        seconds, indices: (R,) float64 and int64, time and number of the first frame of each row.
        centre_seconds, centre_indices: (R,), the same of the middle of each row.
    """

    features: Tensor
    seconds: Tensor
    indices: Tensor
    centre_seconds: Tensor
    centre_indices: Tensor


class RowMaker:
    """A maker of rows from frames that arrive in order.

    Args:
        encoder: encodes the frames.
    """

    def __init__(self, encoder: FrameEncoder) -> None:
        self._encoder = encoder
        self._sequence = SequenceEncoder(encoder)
        self._pushed = 0
        # Times and numbers of frames whose row is not complete yet.
        self._seconds = torch.empty(0, dtype=torch.float64, device="cpu")
        self._indices = torch.empty(0, dtype=torch.int64, device="cpu")

    def copy(self) -> RowMaker:
        """Returns a maker that continues from here on its own; the tensors are shared, none is changed."""
        other = copy(self)
        other._sequence = copy(self._sequence)
        return other

    def push(self, frames: Tensor, seconds: Tensor, indices: Tensor) -> Iterator[StreamRows]:
        """Yields the rows that became complete with frames (T, H, W, 3) uint8, their times and numbers."""
        size = self._encoder.chunk_size
        for first in range(0, len(frames), size):
            part = slice(first, first + size)
            yield from self._push(frames[part], seconds[part], indices[part])

    def _push(self, frames: Tensor, seconds: Tensor, indices: Tensor) -> Iterator[StreamRows]:
        grid = self._encoder.clip_grid
        if grid is not None:
            used = (
                torch.arange(self._pushed, self._pushed + len(frames), device="cpu") % grid.stride
                < grid.frames
            )
            self._pushed += len(frames)
            frames, seconds, indices = frames[used], seconds[used], indices[used]
        self._seconds = torch.cat([self._seconds, seconds])
        self._indices = torch.cat([self._indices, indices])
        for features in self._sequence.push(frames):
            complete = len(features) * (1 if grid is None else grid.tubelet)
            yield self._rows(features, self._seconds[:complete], self._indices[:complete])
            self._seconds, self._indices = self._seconds[complete:], self._indices[complete:]

    def preview(self) -> StreamRows | None:
        """Returns the rows of frames whose clip is incomplete, as if the stream ended here, or None."""
        if len(self._seconds) == 0:
            return None
        features = self._sequence.preview()
        return None if features is None else self._rows(features, self._seconds, self._indices)

    def _rows(self, features: Tensor, seconds: Tensor, indices: Tensor) -> StreamRows:
        """Returns rows with the times and numbers of all their frames."""
        grid = self._encoder.clip_grid
        if grid is None:
            return StreamRows(features, seconds, indices, seconds, indices)
        first, last = (torch.from_numpy(frames) for frames in grid.step_frames(len(seconds)))
        centres = (seconds[first] + seconds[last]) / 2, (indices[first] + indices[last]) // 2
        return StreamRows(features, seconds[first], indices[first], *centres)


class RowQueue:
    """A queue of rows; its memory is at most three times that of the kept rows.

    Rows are appended at the end of a block and dropped at its start. A full block is replaced by one of twice
    the size of the kept rows.
    """

    def __init__(self) -> None:
        self._block = StreamRows(*(torch.empty(0, device="cpu") for _ in StreamRows._fields))
        self._first = self._end = 0

    @property
    def rows(self) -> StreamRows:
        """All kept rows, views of the block."""
        return StreamRows(*(values[self._first : self._end] for values in self._block))

    def append(self, rows: StreamRows) -> None:
        """Adds rows of the same shape and dtype as the earlier ones."""
        count = len(rows.seconds)
        if self._end + count > len(self._block.seconds):
            self._block = StreamRows(*map(_double, self.rows, rows))
            self._first, self._end = 0, self._end - self._first
        for values, new in zip(self._block, rows, strict=True):
            values[self._end : self._end + count] = new
        self._end += count

    def drop(self, count: int) -> None:
        """Drops the ``count`` oldest rows."""
        self._first += count


def _double(kept: Tensor, new: Tensor) -> Tensor:
    """Returns a tensor for twice as many rows as both have, which begins with the kept ones."""
    block = new.new_empty(2 * (len(kept) + len(new)), *new.shape[1:])
    if len(kept):
        block[: len(kept)] = kept
    return block
