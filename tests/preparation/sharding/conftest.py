"""A list of videos that become shards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.videos import write_csv, write_video


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of 12 videos of three classes, one class after another."""
    folder = tmp_path / "data"
    (folder / "videos").mkdir(parents=True)
    names = [(f"videos/{i}.v1.mp4", i // 4) for i in range(12)]
    for i, (name, _) in enumerate(names):
        write_video(folder / name, 4 + i, size=(32, 32))
    return write_csv(folder / "train.csv", names)
