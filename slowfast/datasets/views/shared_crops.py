"""A reader that decodes a view once for all of its crops.

T frames, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from slowfast.datasets.views.view_reader import Segment, ViewReader
from slowfast.video.placement import Placement

# Views larger than this are decoded again for each crop instead of kept in memory.
_KEEP_BYTES = 256 << 20


@dataclass(frozen=True)
class SharedCropsReader(ViewReader):
    """A reader that keeps the uncropped frames of the last view, since its crops are read in a row."""

    # (path, view, segment) -> size of the source (H, W), frames (T, h, w, 3), positions (T,); one entry.
    _last: dict[tuple[str, int, Segment | None], tuple[tuple[int, int], np.ndarray, np.ndarray]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __getstate__(self) -> dict[str, object]:
        """Returns the state without the kept frames, which are not sent to other processes."""
        return {**vars(self), "_last": {}}

    def read(
        self, path: str, view: int, crop: int, rng: np.random.Generator, segment: Segment | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns frames and positions as :meth:`ViewReader.read` does."""
        key = (path, view, segment)
        if key not in self._last:
            self._last.clear()
            decoded = self._decode_uncropped(path, view, rng, segment)
            if decoded[1].nbytes > _KEEP_BYTES:
                return self._crop(crop, rng, *decoded)
            self._last[key] = decoded
        return self._crop(crop, rng, *self._last[key])

    def _decode_uncropped(
        self, path: str, view: int, rng: np.random.Generator, segment: Segment | None
    ) -> tuple[tuple[int, int], np.ndarray, np.ndarray]:
        sizes: list[tuple[int, int]] = []

        def place_uncropped(height: int, width: int) -> Placement:
            sizes.append((height, width))
            return self.scheme.placer(0, rng)(height, width).uncropped

        with self.open_source(path) as video:
            indices, positions = self.plan(video.times, path, view, rng, segment)
            frames = video.read(indices, place_uncropped)
        return sizes[0], frames, positions

    def _crop(
        self,
        crop: int,
        rng: np.random.Generator,
        size: tuple[int, int],
        frames: np.ndarray,
        positions: np.ndarray,
    ) -> tuple[Tensor, Tensor]:
        place = self.scheme.placer(crop, rng)(*size)
        cropped = torch.from_numpy(place.crop(frames)).permute(3, 0, 1, 2)  # (T, h, w, 3) -> (3, T, H, W)
        return cropped, torch.from_numpy(positions)
