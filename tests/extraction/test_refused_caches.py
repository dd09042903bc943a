"""Caches that do not fit the configuration or the data set are refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from slowfast.datasets.build import build_dataset
from slowfast.engine.run import run
from slowfast.errors import ConfigError, DataError
from slowfast.features.batch import FeatureClip
from tests.support.tiny_features import scores
from tests.support.videos import write_csv


def test_two_videos_of_one_name_are_refused(videos: Path, tmp_path: Path, make: Any) -> None:
    """A name is the path below one of the roots: the prefix, or the folder of the lists."""
    data = tmp_path / "data"
    (data / "clips").mkdir(parents=True)
    (data / "clips/0.mp4").symlink_to(videos / "clips/1.mp4")
    for split in ("train", "val", "test"):
        write_csv(data / f"{split}.csv", [("clips/0.mp4", 0), (data / "clips/0.mp4", 1)])
    with pytest.raises(
        ConfigError, match=r"videos0/clips/0\.mp4 and .*data/clips/0\.mp4 would share the feat"
    ):
        make("DATA.PATH_PREFIX", str(videos), data=data)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("RNG_SEED", 7), "weights"),
        (("DATA.FEATURES_FPS", 25.0), "DATA.FEATURES_FPS"),
        (("DATA.MEAN", [0.5, 0.5, 0.5]), "mean"),
        (("DATA.REVERSE_INPUT_CHANNEL", True), "channels"),
        (("DATA.TEST_CROP_SIZE", 24), "transform"),
        (("TEST.NUM_SPATIAL_CROPS", 3), "transform"),
    ],
)
def test_a_cache_of_other_settings_is_refused(make: Any, change: tuple[str, Any], named: str) -> None:
    cfg = make("DATA.TARGET_FPS", 25)
    scores(cfg)
    cfg.defrost()
    cfg.merge_from_list(list(change))
    with pytest.raises(ConfigError, match=f"extracted with other settings.*{named}"):
        scores(cfg)


def test_another_training_crop_is_refused(make: Any) -> None:
    cfg = make()
    cfg.defrost()
    cfg.DATA.TRAIN_JITTER_SCALES = [33, 40]
    with pytest.raises(ConfigError, match=r"transform: the cache has short32.*33 to 40"):
        build_dataset(cfg, "train")


def test_features_of_another_cache_in_the_folder_are_refused(make: Any, tmp_path: Path) -> None:
    """A cache that is copied over one of other weights, and not to the end, has the shapes of both."""
    make("RNG_SEED", 7)
    (tmp_path / "cache").rename(tmp_path / "older")
    cfg = make()
    variant = "short32-crop32-1of1/clips/2.mp4"
    for suffix in (".npy", ".json"):
        os.replace(tmp_path / f"older/{variant}{suffix}", tmp_path / f"cache/{variant}{suffix}")
    dataset = build_dataset(cfg, "test")
    broken = dataset[2 * 2]  # two views of each video
    assert (broken.reason, Path(broken.path).name) == ("other features", "2.mp4")
    assert "of other weights or settings than manifest.json" in broken.detail
    assert isinstance(dataset[2 * 3], FeatureClip)
    make()
    assert isinstance(build_dataset(cfg, "test")[2 * 2], FeatureClip)


def test_nothing_is_added_to_a_folder_of_other_features(make: Any) -> None:
    make()
    with pytest.raises(ConfigError, match=r"holds other features: .*dtype: the cache has float32"):
        make(dtype="float16")
    with pytest.raises(ConfigError, match="weights"):
        make("RNG_SEED", 7)


def test_training_a_frame_encoder_from_its_cached_features_is_refused(make: Any, tmp_path: Path) -> None:
    cfg = make("MODEL.ARCH", "trained", "OUTPUT_DIR", str(tmp_path / "run"))
    with pytest.raises(ConfigError, match="freeze"):
        run(cfg)


def test_videos_of_another_data_set_are_refused(make: Any, tmp_path: Path) -> None:
    cfg = make()
    data = tmp_path / "other"
    data.mkdir()
    write_csv(data / "test.csv", [("others/a.mp4", 0)])
    cfg.defrost()
    cfg.DATA.PATH_TO_DATA_DIR = str(data)
    with pytest.raises(DataError, match="none of the first videos"):
        build_dataset(cfg, "test")
