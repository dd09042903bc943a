"""Runs, tests, feature caches and resumed runs on videos in shards, against the same videos in lists."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slowfast.distributed.world import World
from slowfast.engine.prediction_file import Predictions, load_predictions
from slowfast.engine.run import run
from slowfast.extraction.extract import ExtractionRequest, extract_features
from slowfast.interrupt import Interrupt
from slowfast.visualization.filmstrip import cut_filmstrip
from tests.support.run_results import assert_same_end, losses_of, metrics_of, train_distributed
from tests.support.sharding.shards import shard_splits
from tests.support.tiny import tiny_config
from tests.support.tiny_features import feature_config

SHARDS = ("TRAIN.DATASET", "shards", "TEST.DATASET", "shards")
ONE_EPOCH = ("SOLVER.MAX_EPOCH", 1)
LAST = "checkpoint_epoch_00001.pyth"


@pytest.fixture(scope="module")
def in_order(colour_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 26 + 7 + 7 videos in the order of the lists."""
    return shard_splits(colour_videos, tmp_path_factory.mktemp("shards"), "--keep-order")


def predictions(output: Path) -> Predictions:
    return load_predictions(output / "predictions.npz")


def test_training_and_test_are_those_of_the_list(colour_videos: Path, in_order: Path, tmp_path: Path) -> None:
    whole = (*ONE_EPOCH, "DATA.SHUFFLE_SHARDS", 0)
    assert run(tiny_config(colour_videos, tmp_path / "list", *whole)) == 0
    assert run(tiny_config(in_order, tmp_path / "shards", *SHARDS, *whole)) == 0
    assert losses_of(tmp_path / "shards") == losses_of(tmp_path / "list")
    one, other = predictions(tmp_path / "list"), predictions(tmp_path / "shards")
    np.testing.assert_array_equal(one.scores, other.scores)
    np.testing.assert_array_equal(one.labels, other.labels)
    assert all(path.startswith(f"{in_order}/test/shard-00000") for path in other.paths)
    assert other.originals == tuple(f"test_{i}.mp4" for i in range(7))
    assert one.originals == ()
    tables = [
        list(csv.DictReader((tmp_path / name / "predictions.csv").open())) for name in ("list", "shards")
    ]
    assert [row.pop("original") for row in tables[1]] == list(other.originals)
    assert [dict(row, path="") for row in tables[0]] == [dict(row, path="") for row in tables[1]]
    # A name in the file of predictions suffices to show the video.
    assert cut_filmstrip(other.paths[6], 4) == cut_filmstrip(one.paths[6], 4)


def test_a_group_is_found_in_the_name_of_the_file(in_order: Path, tmp_path: Path) -> None:
    options = (*SHARDS, *ONE_EPOCH, "TEST.GROUP_BY", r"^test_(\d)\.mp4$")
    assert run(tiny_config(in_order, tmp_path / "run", *options)) == 0
    assert predictions(tmp_path / "run").groups == tuple("0123456")


def test_a_resumed_run_is_the_uninterrupted_one(colour_videos: Path, tmp_path: Path) -> None:
    """In the middle of an epoch, with shards that are read a few at a time and have moved in between."""
    old, new = shard_splits(colour_videos, tmp_path / "old"), tmp_path / "new"
    options = (*SHARDS, *ONE_EPOCH, "DATA.SHUFFLE_SHARDS", 2, "TEST.ENABLE", False)
    assert run(tiny_config(old, tmp_path / "one", *options)) == 0
    assert run(tiny_config(old, tmp_path / "two", *options, "TRAIN.MAX_STEPS", 2)) == 0
    shutil.move(old, new)
    assert run(tiny_config(new, tmp_path / "two", *options)) == 0
    assert losses_of(tmp_path / "two") == losses_of(tmp_path / "one")
    assert_same_end(tmp_path / "one", tmp_path / "two", LAST)


def test_two_processes_train_as_one(in_order: Path, tmp_path: Path) -> None:
    options = (*SHARDS, *ONE_EPOCH, "DATA.SHUFFLE_SHARDS", 2, "MODEL.DROPOUT_RATE", 0.0)
    assert run(tiny_config(in_order, tmp_path / "one", *options)) == 0
    train_distributed(2, in_order, tmp_path / "two", *options)
    one, two = (metrics_of(tmp_path / name, "train_iter") for name in ("one", "two"))
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], rel=1e-5)
    np.testing.assert_allclose(
        predictions(tmp_path / "two").scores, predictions(tmp_path / "one").scores, rtol=1e-4
    )


def cached(data: Path, output: Path, cache: Path, *changes: Any) -> Any:
    return feature_config(data, output, "DATA.FEATURES", str(cache), *changes)


def test_a_cache_serves_list_and_shards(colour_videos: Path, in_order: Path, tmp_path: Path) -> None:
    """Features extracted from shards have the names and values of those extracted from the files."""
    found = []
    for folder, changes in ((colour_videos, ()), (in_order, SHARDS)):
        cache = tmp_path / f"cache{len(found)}"
        cfg = cached(folder, tmp_path / "output", cache, *changes)
        extract_features(cfg, World(), Interrupt(), ExtractionRequest(dtype="float32"))
        files = sorted(path.relative_to(cache) for path in cache.rglob("*.npy"))
        found.append({str(name): np.load(cache / name) for name in files})
    assert len(found[0]) == 80  # features and times of 40 videos
    assert found[0].keys() == found[1].keys()
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name], err_msg=name)
    # Each trains on the cache of the other.
    assert run(cached(colour_videos, tmp_path / "a", tmp_path / "cache1")) == 0
    cfg = cached(in_order, tmp_path / "b", tmp_path / "cache0", *SHARDS, "DATA.SHUFFLE_SHARDS", 0)
    assert run(cfg) == 0
    assert losses_of(tmp_path / "a") == losses_of(tmp_path / "b")
    np.testing.assert_array_equal(predictions(tmp_path / "a").scores, predictions(tmp_path / "b").scores)


def test_extraction_from_shards_encodes_nothing_that_is_there(
    colour_videos: Path, in_order: Path, tmp_path: Path
) -> None:
    """Be it of the same shards, of a copy of them, or of the files that they were made of."""
    shards, cache = shutil.copytree(in_order, tmp_path / "shards"), tmp_path / "cache"
    for shard in shards.rglob("*.tar"):
        shard.touch()
    before: dict[Path, int] = {}
    for folder, changes in ((colour_videos, ()), (in_order, SHARDS), (in_order, SHARDS), (shards, SHARDS)):
        cfg = cached(folder, tmp_path / "output", cache, *changes)
        extract_features(cfg, World(), Interrupt(), ExtractionRequest(dtype="float32"))
        features = {path: path.stat().st_mtime_ns for path in cache.glob("short*/*.npy")}
        assert features == (before or features)
        before = features
    assert len(before) == 40
