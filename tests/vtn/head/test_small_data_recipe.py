"""The recipe SMALL_DATA, given lists, number of classes and backbone alone, learns order from few videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slowfast.cli.extract import main as extract_features
from slowfast.config import load_config
from slowfast.datasets.build import build_dataset
from slowfast.engine.run import run
from slowfast.probe.baselines import linear_scores, summarize
from slowfast.probe.feature_table import concatenate, load_table
from tests.support.probing.feature_files import FPS, WIDTH, write_ordered_videos
from tests.support.videos import stamp, write_csv, write_video
from vtn.backbones.efficientnet_lite0 import PACKAGE

TRAINED, TESTED = 60, 40


def keys(data: Path, output: Path, *others: Any) -> list[str]:
    given = ("DATA.PATH_TO_DATA_DIR", data, "MODEL.NUM_CLASSES", 2, "NUM_GPUS", 0, "OUTPUT_DIR", output)
    return [str(value) for value in (*given, *others)]


def test_it_learns_the_order_that_a_linear_classifier_of_statistics_cannot_see(tmp_path: Path) -> None:
    write_ordered_videos(tmp_path, num_videos=TRAINED, test_videos=TESTED)
    (tmp_path / "val.csv").write_text((tmp_path / "test.csv").read_text())
    backbone = ("VTN.BACKBONE.NAME", "precomputed", "VTN.BACKBONE.ARGS", {"feature_dim": WIDTH})
    files = ("TRAIN.DATASET", "features", "TEST.DATASET", "features", "DATA.FEATURES_FPS", FPS)
    others = ("DATA_LOADER.NUM_WORKERS", 0, "TEST.SAVE_RESULTS_PATH", "results.npz")
    cfg = load_config("SMALL_DATA", keys(tmp_path, tmp_path / "run", *backbone, *files, *others))
    assert run(cfg, "") == 0
    with np.load(tmp_path / "run" / "results.npz") as results:
        accuracy = (results["scores"].argmax(axis=1) == results["labels"]).mean()

    own = load_config(
        "SMALL_DATA", keys(tmp_path, tmp_path, *backbone, *files, "DATA.INTERPOLATION", "bilinear")
    )
    table = concatenate([load_table(build_dataset(own, split)) for split in ("train", "test")])
    labels = table.labels.numpy()
    trained, tested = np.arange(TRAINED), np.arange(TRAINED, TRAINED + TESTED)
    for summaries in summarize(table).values():
        scores, _ = linear_scores(summaries, labels, list(table.paths), trained, tested, 2)
        assert (scores.argmax(axis=1) == labels[tested]).mean() < 0.75
    assert accuracy > 0.95


def test_it_trains_from_videos_with_lists_classes_and_backbone_alone(tmp_path: Path) -> None:
    pytest.importorskip(PACKAGE, reason=f"{PACKAGE} is not installed; it is in the extra 'pretrained-demo'")
    for split, count in (("train", 16), ("val", 2), ("test", 2)):
        videos = []
        for number in range(count):
            frames = [stamp(7 * number + time, 48, 64) for time in range(3)]
            path = write_video(tmp_path / f"{split}{number}.mp4", frames, fps=4)
            videos.append((path, number % 2))
        write_csv(tmp_path / f"{split}.csv", videos)
    given = keys(tmp_path, tmp_path / "run", "VTN.BACKBONE.NAME", "efficientnet_lite0_imagenet")
    cache = str(tmp_path / "cache")
    assert extract_features(["--cfg", "SMALL_DATA", *given, "DATA.FEATURES", cache]) == 0
    assert run(load_config("SMALL_DATA", [*given, "DATA.FEATURES", cache]), "") == 0
    assert (tmp_path / "run" / "checkpoints" / "checkpoint_epoch_00060.pyth").is_file()
