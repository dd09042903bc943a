"""Names of videos that could clash with each other, or be too long, as names of files in a cache."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.tiny_features import scores, without_cache
from tests.support.videos import write_csv


@pytest.fixture
def renamed(videos: Path, tmp_path: Path) -> Any:
    """Makes a data set of the first videos with other names; returns its folder."""

    def rename(*names: str) -> Path:
        folder = tmp_path / "own"
        folder.mkdir()
        for i, name in enumerate(names):
            shutil.copy(videos / f"clips/{i}.mp4", folder / name)
        for split in ("train", "val", "test"):
            write_csv(folder / f"{split}.csv", [(name, i % 3) for i, name in enumerate(names)])
        return folder

    return rename


@pytest.mark.parametrize(
    "names",
    [
        ("a.mp4.part", "a.mp4"),
        ("a.mp4", "a.mp4.part", "a.mp4.part.part"),
        ("v" * 251 + ".mp4", "v" * 250 + "w.mp4", "v" * 230 + ".mp4"),
        ("é" * 125 + ".mp4", "é" * 124 + "e.mp4"),
    ],
    ids=["unfinished download", "of both orders", "longest names", "longest names of other letters"],
)
def test_each_video_has_features_of_its_own(renamed: Any, make: Any, names: tuple[str, ...]) -> None:
    data = renamed(*names)
    # One split: a second one that shares the videos would extract again what the first has lost.
    cfg = make("DATA.PATH_PREFIX", str(data), "TRAIN.ENABLE", False, data=data)
    assert np.abs(scores(cfg) - scores(without_cache(cfg))).max() < 1e-5
