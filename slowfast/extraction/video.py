"""Encoding of one video's frames into feature files: the path of feature caches and of predictions.

t frames of a chunk, T frames, R rows of features, n of a chunk, H W pixels, M tokens, F width of a feature.
There is one row per frame, or per time step for models that encode clips.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slowfast.datasets.loading.prefetch import Prefetch
from slowfast.errors import DataError, NotFiniteError
from slowfast.features.cache import Variant
from slowfast.features.storage import STORED, FeatureFile
from slowfast.models.clip_grid import ClipGrid
from slowfast.models.frame_encoder import FrameEncoder, SequenceEncoder
from slowfast.video.decoding import OpenVideo
from slowfast.video.placement import Placement


class OutOfRangeError(DataError):
    """Features that are too large for the dtype of the file."""


@dataclass(frozen=True)
class VideoRows:
    """The rows of features of a video, and the frames that they are computed from.

    Attributes:
        indices: (T,) int64, ascending, the frames of the video that are encoded.
        clip_grid: clips and time steps of the model; None: one row per frame.
    """

    indices: NDArray[np.int64]
    clip_grid: ClipGrid | None = None

    @classmethod
    def of(cls, indices: NDArray[np.int64], grid: ClipGrid | None) -> VideoRows:
        """Returns the rows of chosen frames (T,), without those between two clips."""
        return cls(indices if grid is None else indices[grid.used_frames(len(indices))], grid)

    @property
    def count(self) -> int:
        """R."""
        grid = self.clip_grid
        return len(self.indices) if grid is None else grid.num_steps(len(self.indices))

    def restart(self, done: int) -> tuple[int, int, int]:
        """Returns where encoding continues after ``done`` rows: rows that stay, number of the clip, frame."""
        grid = self.clip_grid
        if grid is None or done >= self.count:
            return done, 0, len(self.indices) if grid is not None else done
        clip = grid.clip_of_step(done)
        return grid.first_step(clip), clip, clip * grid.hop

    def frames_of(self, first: int, stop: int) -> list[NDArray[np.int64]]:
        """Returns the frames that each of the rows ``first`` … ``stop − 1`` stands for."""
        per_row = 1 if self.clip_grid is None else self.clip_grid.tubelet
        return [self.indices[row * per_row : (row + 1) * per_row] for row in range(first, stop)]


def append_features(
    encoder: FrameEncoder,
    video: OpenVideo,
    rows: VideoRows,
    files: Mapping[Variant, FeatureFile],
    *,
    name: str,
    missing: set[int] | None = None,
    ahead: int = 0,
) -> Generator[int, None, None]:
    """Encodes the frames whose features the files lack, and appends the features to the files.

    An interrupted extraction continues after the last row that all files have, for models that encode clips
    after the last complete clip. Close the generator (``contextlib.closing``) before the video.

    Args:
        files: at least one, by the variant of the frames; the variants have one short side and interpolation.
        name: name of the video, for messages.
        missing: receives the indices of frames that cannot be decoded; rows of such frames only are NaN. In a
            clip with other frames, the frame before stands for a missing one. None: such a frame raises
            ``DecodeError``.
        ahead: chunks that a thread decodes while the model computes; 0: no thread.

    Yields:
        The number of frames that were decoded, chunk by chunk, once the features that became complete are on
        the disk in all files.

    Raises:
        DecodeError: where the video cannot be decoded.
        NotFiniteError: for NaN or infinite features of a decoded frame; rows before this chunk are kept.
        OutOfRangeError: for features beyond the range of the files' dtype.
    """
    kept, clip, first = rows.restart(min(file.count for file in files.values()))
    for file in files.values():
        file.keep(kept)
    if first >= len(rows.indices):
        return
    writers = [
        _Writer(SequenceEncoder(encoder, first_clip=clip), file, rows, missing, name)
        for file in files.values()
    ]
    shown = _shown_frames(encoder, video, rows.indices[first:], [*files], missing)
    with Prefetch(shown, depth=ahead) if ahead else closing(shown) as chunks:
        for chunk in chunks:
            for writer, frames in zip(writers, chunk, strict=True):
                writer.push(frames)
            yield len(chunk[0])
    for writer in writers:
        writer.finish()
    yield 0


@dataclass(frozen=True)
class _Writer:
    """The encoding of one variant of a video into its file.

    Attributes:
        sequence: encodes the frames from the first missing row on.
        file: receives the features.
        rows, missing, name: see :func:`append_features`.
    """

    sequence: SequenceEncoder
    file: FeatureFile
    rows: VideoRows
    missing: set[int] | None
    name: str

    def push(self, frames: NDArray[np.uint8]) -> None:
        for features in self.sequence.push(frames):
            self._append(features)

    def finish(self) -> None:
        for features in self.sequence.finish():
            self._append(features)

    def _append(self, features: Tensor) -> None:
        values = features.float().cpu()  # (n, F) or (n, M, F)
        frames = self.rows.frames_of(self.file.count, self.file.count + len(values))
        missing = self.missing or set()
        lost = torch.tensor([missing.issuperset(row.tolist()) for row in frames], device="cpu")
        numbers = np.array([row[0] for row in frames])
        _check_values(values, numbers, lost, self.file.dtype, self.name)
        values[lost] = torch.nan
        self.file.append(values)


def _shown_frames(
    encoder: FrameEncoder,
    video: OpenVideo,
    indices: NDArray[np.int64],
    variants: list[Variant],
    missing: set[int] | None,
) -> Generator[list[NDArray[np.uint8]], None, None]:
    """Yields the frames (t, H, W, 3) uint8 of each chunk, one array per variant; decodes the video once."""
    source: list[tuple[int, int]] = []

    def place(height: int, width: int) -> Placement:
        source[:] = [(height, width)]
        placement = variants[0].placer(height, width)
        # Several variants are cropped from the full frames below.
        return placement.uncropped if len(variants) > 1 else placement

    fill = _GapFiller(missing) if missing is not None and encoder.clip_grid is not None else None
    first = 0
    for frames in video.read_chunks(indices, encoder.chunk_size, place, missing):
        if fill is not None:
            fill(frames, indices[first : first + len(frames)])
        first += len(frames)
        crops = [v.placer(*source[0]).crop(frames) for v in variants] if len(variants) > 1 else [frames]
        yield [
            crop[:, :, ::-1] if variant.flip else crop for variant, crop in zip(variants, crops, strict=True)
        ]


class _GapFiller:
    """Replaces frames that cannot be decoded by the frame before them, since a clip is encoded as a whole."""

    def __init__(self, missing: set[int]) -> None:
        self._missing = missing
        self._last: NDArray[np.uint8] | None = None

    def __call__(self, frames: NDArray[np.uint8], indices: NDArray[np.int64]) -> None:
        """Changes frames (t, H, W, 3) in place; those before the first decoded frame stay black."""
        for frame, index in zip(frames, indices.tolist(), strict=True):
            if index not in self._missing:
                self._last = frame
            elif self._last is not None:
                frame[...] = self._last
        if self._last is not None:
            self._last = self._last.copy()


def _check_values(features: Tensor, numbers: NDArray[np.int64], lost: Tensor, dtype: str, name: str) -> None:
    """Raises an error for features that a file cannot hold, except those of ``lost`` frames (t,).

    In a file NaN stands for a frame that cannot be decoded, so that NaN of the model must not get there.
    """
    not_finite = (~features.isfinite().flatten(1).all(dim=1) & ~lost).nonzero().flatten()
    if len(not_finite):
        raise NotFiniteError(
            f"{name}: the model gives NaN or infinite features for frame {numbers[not_finite[0]]} and "
            f"{len(not_finite) - 1} others of {len(lost)}; check its weights, or let it compute in a "
            "dtype of larger range",
            [0],
        )
    kept = features[~lost]
    largest = float(kept.abs().max()) if len(kept) else 0.0
    if largest > torch.finfo(STORED[dtype][0]).max:
        raise OutOfRangeError(
            f"{name}: features reach {largest:g}, more than {dtype} can hold; extract as bfloat16 or float32"
        )
