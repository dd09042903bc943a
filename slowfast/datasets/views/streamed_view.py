"""Views of too many frames to be held in memory: planned by the data set, decoded while they are looked at.

T frames of a view, t of a chunk, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slowfast.datasets.views.view_reader import Segment, ViewReader


@dataclass(frozen=True)
class StreamedView:
    """A planned view. It crosses from a loader's worker to the main process, and is read there.

    Attributes:
        path: of the file.
        crop: which of the scheme's crops.
        indices: (T,) int64, the frames in the file.
        positions: (T,) int64.
        order: (T,) int64; the frame shown at place i is number ``order[i]`` of ``indices``. None: in order.
        reverse_channels: give BGR.
    """

    reader: ViewReader
    path: str
    crop: int
    indices: np.ndarray
    positions: Tensor
    order: Tensor | None = None
    reverse_channels: bool = False

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Yields the frames, (3, t, H, W) uint8, t ≤ ``size``, in the file's order whatever ``order`` says.

        Raises:
            DecodeError: where the video cannot be decoded.
        """
        # Schemes of evaluation draw nothing.
        placer = self.reader.scheme.placer(self.crop, np.random.default_rng(0))
        with self.reader.open_source(self.path) as video:
            for frames in video.read_chunks(self.indices, size, placer):
                frames = torch.from_numpy(frames).permute(3, 0, 1, 2)  # (t, H, W, 3) -> (3, t, H, W)
                yield frames.flip(0) if self.reverse_channels else frames


@dataclass(frozen=True)
class StreamedViewReader:
    """Reads views of up to ``limit`` frames as ``reader`` does; longer ones are only planned."""

    reader: ViewReader
    limit: int

    def read(
        self, path: str, view: int, crop: int, rng: np.random.Generator, segment: Segment | None = None
    ) -> tuple[Tensor, Tensor] | StreamedView:
        """Returns frames (3, T, H, W) uint8 and positions (T,) int64, or where T > ``limit`` the view.

        Raises:
            DecodeError: where the video cannot be decoded; where it is long, in so far as the plan shows it.
        """
        reader = self.reader
        with reader.open_source(path) as video:
            indices, positions = reader.plan(video.times, path, view, rng, segment)
            if len(indices) > self.limit:
                return StreamedView(reader, path, crop, indices, torch.from_numpy(positions))
            if reader.scheme.num_crops == 1:
                frames = video.read(indices, reader.scheme.placer(crop, rng))
                return torch.from_numpy(frames).permute(3, 0, 1, 2), torch.from_numpy(positions)
        # Several crops share a decoding, which the reader keeps.
        return reader.read(path, view, crop, rng, segment)
