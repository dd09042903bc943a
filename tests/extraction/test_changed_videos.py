"""Videos that change after the extraction of their features, and copies of the videos."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slowfast.datasets.build import build_dataset
from slowfast.errors import DataError
from slowfast.features.batch import FeatureClip
from tests.support.tiny_features import scores, without_cache
from tests.support.videos import write_video


@pytest.fixture
def own_videos(videos: Path, tmp_path: Path) -> Path:
    """A copy of the videos and lists, which a test may change."""
    return Path(shutil.copytree(videos, tmp_path / "own"))


def test_features_of_a_replaced_video_are_not_used(make: Any, own_videos: Path) -> None:
    """They would be those of another video, without a word. Those of the others stay."""
    cfg = make(data=own_videos)
    write_video(own_videos / "clips/2.mp4", 14, size=(40, 40), crf="1")
    dataset = build_dataset(cfg, "test")
    broken = dataset[2 * 2]  # two views of each video
    assert (broken.reason, Path(broken.path).name) == ("changed video", "2.mp4")
    assert re.fullmatch(r"it has \d+ bytes, and had \d+ when .*; run `slowfast extract` again", broken.detail)
    assert isinstance(dataset[2 * 3], FeatureClip)
    make(data=own_videos)
    assert isinstance(build_dataset(cfg, "test")[2 * 2], FeatureClip)
    assert np.abs(scores(cfg) - scores(without_cache(cfg))).max() < 1e-5


def test_features_of_a_video_replaced_by_one_of_equal_size_are_not_used(make: Any, own_videos: Path) -> None:
    cfg = make(data=own_videos)
    path = own_videos / "clips/2.mp4"
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, (1, 1))
    broken = build_dataset(cfg, "test")[2 * 2]
    assert broken.reason == "changed video"
    assert broken.detail.startswith("it has other content, and had as many bytes when its features were")


def test_features_are_used_with_copies_of_the_videos_and_without_them(make: Any, own_videos: Path) -> None:
    cfg = make(data=own_videos)
    expected = scores(cfg)
    for video in (own_videos / "clips").iterdir():
        os.utime(video, (1, 1))
    np.testing.assert_array_equal(scores(cfg), expected)
    shutil.rmtree(own_videos / "clips")
    np.testing.assert_array_equal(scores(cfg), expected)


def test_a_cache_without_records_of_the_videos_is_read(make: Any, own_videos: Path, tmp_path: Path) -> None:
    cfg = make(data=own_videos)
    for description in (tmp_path / "cache/short32-crop32-1of1").rglob("*.json"):
        description.unlink()
    write_video(own_videos / "clips/2.mp4", 14, size=(40, 40), crf="1")
    assert len(scores(cfg)) == 8


def test_a_data_set_whose_videos_have_all_changed_is_refused_at_the_start(
    make: Any, own_videos: Path
) -> None:
    cfg = make(data=own_videos)
    for video in (own_videos / "clips").iterdir():
        write_video(video, 9, size=(40, 40), crf="1")
    with pytest.raises(DataError, match=r"has none of the first videos .*0\.mp4: changed video"):
        build_dataset(cfg, "test")


def test_a_replaced_video_loses_its_features_of_other_crops(
    make: Any, own_videos: Path, tmp_path: Path
) -> None:
    """The times of the new frames would stand beside rows of the old ones, as many by chance."""
    make(data=own_videos, flips=True)
    write_video(own_videos / "clips/2.mp4", 16, size=(40, 40), crf="1")
    make(data=own_videos)
    mirrored = tmp_path / "cache/short32-crop32-1of1-flip/clips"
    assert sorted(path.name for path in mirrored.glob("*.npy")) == [
        f"{i}.mp4.npy" for i in range(8) if i != 2
    ]
