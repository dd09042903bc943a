"""Encoding of one video's frames into feature files: the path of feature caches and of predictions.

t frames of a chunk, T frames, H W pixels, M tokens of a frame, F width of a feature.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from itertools import cycle

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slowfast.errors import DataError, NotFiniteError
from slowfast.features.cache import Variant
from slowfast.features.storage import STORED, FeatureFile
from slowfast.models.frame_encoder import FrameEncoder
from slowfast.video.decoding import OpenVideo
from slowfast.video.placement import Placement


def append_features(
    encoder: FrameEncoder,
    video: OpenVideo,
    indices: NDArray[np.int64],
    files: Mapping[Variant, FeatureFile],
    *,
    name: str,
    missing: set[int] | None = None,
    ahead: int = 0,
) -> Generator[int, None, None]:
    """Encodes the frames whose features the files lack, and appends the features to the files.

    An interrupted extraction continues after the last row that all files have. Close the generator
    (``contextlib.closing``) before the video.

    Args:
        indices: (T,) int64, ascending, the frame of the video that belongs to each row of a complete file.
        files: at least one, by the variant of the frames; the variants are crops of the same scaled
            frames.
        name: name of the video, for messages.
        missing: receives the indices of frames that cannot be decoded; their rows are NaN. None: such a
            frame raises ``DecodeError``.
        ahead: chunks that a thread decodes while the model computes; 0: no thread.

    Yields:
        The number of frames of each chunk, once its features are on the disk in all files.

    Raises:
        DecodeError: where the video cannot be decoded.
        NotFiniteError: for features of a decoded frame that are NaN or infinite; the rows before this chunk
            are kept.
        DataError: for features beyond the range of the files' dtype.
    """
    done = min(file.count for file in files.values())
    for file in files.values():
        file.keep(done)
    shown = _shown_frames(encoder, video, indices[done:], [*files], missing)
    *_, last = files
    with closing(encoder.encode_chunks(shown, ahead=ahead)) as encoded:
        for (variant, file), features in zip(cycle(files.items()), encoded, strict=False):
            rows = features.float().cpu()  # (t, F) or (t, M, F)
            numbers = indices[file.count : file.count + len(rows)]
            lost = torch.tensor([missing is not None and number in missing for number in numbers.tolist()])
            _check_values(rows, numbers, lost, file.dtype, name)
            rows[lost] = torch.nan
            file.append(rows)
            if variant is last:
                yield len(rows)


def _shown_frames(
    encoder: FrameEncoder,
    video: OpenVideo,
    indices: NDArray[np.int64],
    variants: list[Variant],
    missing: set[int] | None,
) -> Iterator[NDArray[np.uint8]]:
    """Yields the frames (t, H, W, 3) uint8 of each chunk once per variant; the video is decoded once."""
    source: list[tuple[int, int]] = []

    def place(height: int, width: int) -> Placement:
        source[:] = [(height, width)]
        placement = variants[0].placer(height, width)
        # Several variants are cropped from the full frames below.
        return placement.uncropped if len(variants) > 1 else placement

    # Image folders and other decoders cannot report missing frames.
    report = () if missing is None else (missing,)
    for frames in video.read_chunks(indices, encoder.chunk_size, place, *report):
        for variant in variants:
            crop = variant.placer(*source[0]).crop(frames) if len(variants) > 1 else frames
            yield crop[:, :, ::-1] if variant.flip else crop


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
        raise DataError(
            f"{name}: features reach {largest:g}, more than {dtype} can hold; extract as bfloat16 or float32"
        )
