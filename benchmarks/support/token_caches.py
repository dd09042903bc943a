"""Feature caches of random token grids, and the speed at which a loader worker reads them.

T rows of a video, M tokens of a frame, F width of a token.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Timing, ratio, time_interleaved
from slowfast.datasets.views.view_reader import ClipViews, Scheme, WholeVideoViews
from slowfast.features.cache import FeatureNames, Manifest, Variant, features_path, times_path
from slowfast.features.cache_reader import CacheReader
from slowfast.features.row_times import RowTimes, write_table
from slowfast.features.storage import FeatureFile
from slowfast.video.frame_times import FrameTimes

ROWS, FPS, SIDE = 250, 25.0, 224
DTYPE = "float16"
CLIP_FRAMES, CLIP_RATE = 16, 4
# Bytes of the header of a .npy file with few dimensions.
_HEADER_BYTES = 128


@dataclass(frozen=True)
class TokenCache:
    """A cache of videos with 250 rows each.

    Attributes:
        folder: its folder.
        row_shape: (M, F).
        paths: the videos, which do not exist themselves.
    """

    folder: Path
    row_shape: tuple[int, int]
    paths: tuple[str, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of the features of one frame."""
        return math.prod(self.row_shape) * 2

    @property
    def files(self) -> list[str]:
        """Paths of the arrays."""
        return [str(features_path(str(self.folder), self.variant, Path(path).name)) for path in self.paths]

    @property
    def variant(self) -> Variant:
        """The crop of all videos."""
        return Variant(SIDE, SIDE)

    def reader(self, scheme: Scheme) -> CacheReader:
        """Returns the reader of a data set that reads these features."""
        folder, (tokens, width) = str(self.folder), self.row_shape
        manifest = Manifest(
            {}, width, DTYPE, FPS, (0.5,) * 3, (0.5,) * 3, "RGB", (self.variant,), {}, num_tokens=tokens
        )
        return CacheReader(scheme, FPS, folder, manifest, FeatureNames([folder]), {0: (self.variant,)})


def write_cache(folder: Path, row_shape: tuple[int, int], megabytes: int) -> TokenCache:
    """Writes a cache of about that size, as an extraction writes it."""
    count = max(2, round(megabytes * 1e6 / (ROWS * math.prod(row_shape) * 2)))
    cache = TokenCache(folder, row_shape, tuple(str(folder / f"{number}.mp4") for number in range(count)))
    times = FrameTimes(np.arange(ROWS) / FPS, ROWS / FPS)
    rows = torch.randn(ROWS, *row_shape)
    for path, file in zip(cache.paths, cache.files, strict=True):
        with FeatureFile(file, row_shape, {"benchmark": "random"}, DTYPE) as features:
            features.append(rows)
        target = times_path(str(folder), Path(path).name)
        target.parent.mkdir(exist_ok=True)
        write_table(target, RowTimes(times, np.arange(ROWS)).table(ROWS))
    return cache


def measure_reading(cache: TokenCache, rounds: int) -> dict[str, Any]:
    """Returns the speed of reading whole videos and clips, per second of CPU time, with a warm page cache.

    Plain reading is ``numpy.fromfile`` of the same files from start to end, and for clips of a run of as many
    bytes in each of them.
    """
    size: Any = {"target_fps": FPS, "short_side": SIDE, "crop_size": SIDE}
    whole = cache.reader(WholeVideoViews(num_frames=0, **size))
    clips = cache.reader(ClipViews(num_frames=CLIP_FRAMES, sampling_rate=CLIP_RATE, num_temporal=3, **size))
    row: dict[str, Any] = {"row": " × ".join(map(str, cache.row_shape)), "row kB": cache.row_bytes / 1e3}
    for name, reader, rows in (("whole", whole, ROWS), ("clips", clips, CLIP_FRAMES)):
        times = time_interleaved(
            {"plain": _plain(cache, rows), "reader": _through(reader, cache)},
            rounds=rounds,
            clock=time.process_time,
        )
        count = rows * len(cache.paths)
        row |= _speeds(name, times, count, count * cache.row_bytes)
    return row


def _plain(cache: TokenCache, rows: int) -> Callable[[], None]:
    files, count = cache.files, rows * cache.row_bytes // 2

    def read() -> None:
        for file in files:
            np.fromfile(file, np.float16, count, offset=_HEADER_BYTES)

    return read


def _through(reader: CacheReader, cache: TokenCache) -> Callable[[], None]:
    rng = np.random.default_rng(0)

    def read() -> None:
        for path in cache.paths:
            reader.read(path, 0, 0, rng)

    return read


def _speeds(name: str, times: dict[str, Timing], rows: int, size: int) -> dict[str, float]:
    seconds = times["reader"].median
    return {
        f"{name}: rows/s": rows / seconds,
        f"{name}: MB/s": size / seconds / 1e6,
        f"{name}: plain MB/s": size / times["plain"].median / 1e6,
        f"{name}: of plain": ratio(times["plain"], times["reader"]),
    }
