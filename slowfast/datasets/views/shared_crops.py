"""A reader that decodes a view once for all of its crops.

T frames, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from slowfast.datasets.views.streamed_view import StreamedView
from slowfast.datasets.views.view_reader import Segment, ViewReader
from slowfast.video.placement import Placement

# Views larger than this are decoded again for each crop instead of kept in memory.
_KEEP_BYTES = 256 << 20


@dataclass(frozen=True)
class _UncroppedView:
    """The frames of a view before they are cropped.

    Attributes:
        height, width: of the frames in the file, pixels.
        frames: (T, h, w, 3) uint8, scaled.
        positions: (T,) int64.
    """

    height: int
    width: int
    frames: np.ndarray
    positions: np.ndarray


@dataclass(frozen=True)
class SharedCropsReader(ViewReader):
    """A reader that keeps the uncropped frames of the last view, since its crops are read in a row."""

    # (path, view, segment) -> the view; one entry.
    _last: dict[tuple[str, int, Segment | None], _UncroppedView] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __getstate__(self) -> dict[str, object]:
        """Returns the state without the kept frames, which are not sent to other processes."""
        return {**vars(self), "_last": {}}

    def read(
        self, path: str, view: int, crop: int, rng: np.random.Generator, segment: Segment | None = None
    ) -> tuple[Tensor, Tensor] | StreamedView:
        """Returns what :meth:`ViewReader.read` does."""
        key = (path, view, segment)
        uncropped: _UncroppedView | StreamedView | None = self._last.get(key)
        if uncropped is None:
            self._last.clear()
            uncropped = self._decode_uncropped(path, view, crop, rng, segment)
        if isinstance(uncropped, StreamedView):
            return uncropped
        if uncropped.frames.nbytes <= _KEEP_BYTES:
            self._last[key] = uncropped
        place = self.scheme.placer(crop, rng)(uncropped.height, uncropped.width)
        cropped = place.crop(uncropped.frames)  # (T, H, W, 3)
        return torch.from_numpy(cropped).permute(3, 0, 1, 2), torch.from_numpy(uncropped.positions)

    def _decode_uncropped(
        self, path: str, view: int, crop: int, rng: np.random.Generator, segment: Segment | None
    ) -> _UncroppedView | StreamedView:
        sizes: list[tuple[int, int]] = []

        def place_uncropped(height: int, width: int) -> Placement:
            sizes.append((height, width))
            return self.scheme.placer(0, rng)(height, width).uncropped

        with self.open_source(path) as video:
            indices, positions = self.plan(video.times, path, view, rng, segment)
            if 0 < self.stream_frames < len(indices):
                return StreamedView(self, path, crop, indices, torch.from_numpy(positions))
            frames = video.read(indices, place_uncropped)
        height, width = sizes[0]  # of the first frame, by which the decoder places all
        return _UncroppedView(height, width, frames, positions)
