"""Features for searches: tables in memory, and files whose classes differ in the order of rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from slowfast.features.row_times import RowTimes
from slowfast.probe.feature_table import FeatureTable
from slowfast.video.frame_times import FrameTimes

ROWS, WIDTH, FPS = 12, 8, 10.0


def random_table(num_videos: int, row_shape: tuple[int, ...], num_classes: int = 2) -> FeatureTable:
    """Returns a table of random features of 5, 6, … rows per video."""
    lengths = [5 + video for video in range(num_videos)]
    return FeatureTable(
        rows=torch.randn(sum(lengths), *row_shape, generator=torch.Generator().manual_seed(0)),
        starts=torch.tensor([0, *lengths]).cumsum(0),
        times=tuple(
            RowTimes(FrameTimes(np.arange(n) / FPS, n / FPS), np.arange(n, dtype=np.int64)) for n in lengths
        ),
        labels=torch.arange(num_videos) % num_classes,
        paths=(paths := tuple(f"person{video // 2}/{video}.mp4" for video in range(num_videos))),
        segments=(None,) * num_videos,
        groups=paths,
    )


def write_ordered_videos(folder: Path, num_videos: int = 40, test_videos: int = 8) -> None:
    """Writes feature files of two classes and lists: one channel rises in class 1 and falls in class 0.

    Both classes have the same rows in another order, so that only a model that sees order can tell them
    apart. ``NUMBER.npy`` belongs to the group ``pNUMBER//2``.
    """
    rng = np.random.default_rng(0)
    names = {"train": range(num_videos), "val": range(0), "test": range(num_videos, num_videos + test_videos)}
    for number in range(num_videos + test_videos):
        rows = rng.normal(0, 0.3, (ROWS, WIDTH))
        rows[:, 0] += np.linspace(-2, 2, ROWS) * (1 if number % 2 else -1)
        np.save(folder / f"p{number // 2}_{number}.npy", rows.astype(np.float32))
    for split, numbers in names.items():
        lines = [f"{folder}/p{number // 2}_{number}.npy {number % 2}\n" for number in numbers]
        (folder / f"{split}.csv").write_text("".join(lines))
