"""Streamed views: views of many frames, planned by the data set and decoded while the model runs.

T frames of a view, t frames of a chunk, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from slowfast.datasets.views.view_reader import ViewReader


@dataclass(frozen=True)
class StreamedView:
    """A planned view. A loader's worker plans it; the main process decodes it.

    Attributes:
        reader: of the view.
        path: of the file.
        crop: number of the scheme's crop.
        indices: (T,) int64, the frames in the file.
        positions: (T,) int64.
        order: (T,) int64; the model sees frame ``indices[order[i]]`` at index i. None: in the file's order.
        reverse_channels: yield BGR instead of RGB.
    """

    reader: ViewReader
    path: str
    crop: int
    indices: np.ndarray
    positions: Tensor
    order: Tensor | None = None
    reverse_channels: bool = False

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Yields the frames in chunks (3, t, H, W) uint8, t ≤ ``size``, in the file's order.

        ``order`` is not applied here.

        Raises:
            DecodeError: where the video cannot be decoded.
        """
        # Schemes of evaluation use no random numbers.
        placer = self.reader.scheme.placer(self.crop, np.random.default_rng(0))
        with self.reader.open_source(self.path) as video:
            for frames in video.read_chunks(self.indices, size, placer):
                frames = torch.from_numpy(frames).permute(3, 0, 1, 2)  # (t, H, W, 3) -> (3, t, H, W)
                yield frames.flip(0) if self.reverse_channels else frames
