"""Cached features of real videos give the same views, logits and training as the frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast.datasets.build import build_dataset
from slowfast.datasets.clip import Clip
from slowfast.distributed.world import World, free_local_address
from slowfast.engine.run import run
from slowfast.engine.run_model import build_seeded_model
from slowfast.extraction.extract import ExtractionRequest, extract_features
from slowfast.features.batch import FeatureClip
from slowfast.features.cache import Manifest
from slowfast.interrupt import Interrupt
from tests.support.processes import run_all
from tests.support.run_results import metrics_of
from tests.support.tiny_features import WIDTH, feature_config, scores, without_cache
from tests.support.videos import write_csv


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 1e-3), ("bfloat16", 1e-2)])
@pytest.mark.parametrize(
    "views",
    [
        ("TEST.NUM_ENSEMBLE_VIEWS", 2, "TEST.NUM_SPATIAL_CROPS", 3, "DATA.TEST_CROP_SIZE", 24),
        ("TRAIN.EVAL_FULL_VIDEO", True, "TEST.NUM_ENSEMBLE_VIEWS", 1, "TRAIN.EVAL_NUM_FRAMES", 6),
    ],
    ids=["clips and crops", "whole videos"],
)
def test_logits_equal_the_logits_from_frames(
    make: Any, views: tuple[Any, ...], dtype: str, tolerance: float
) -> None:
    cfg = make(*views, dtype=dtype)
    cached, direct = scores(cfg), scores(without_cache(cfg))
    assert np.abs(cached - direct).max() < tolerance * max(1, np.abs(direct).max())
    assert np.ptp(direct, axis=0).min() > 0.01


def test_the_cache_is_described_once_for_all_splits(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    cfg = make()
    with caplog.at_level("INFO"):
        for split in ("val", "test"):
            build_dataset(cfg, split, feature_shape=(WIDTH,))
    assert sum(line.startswith(f"features: {cfg.DATA.FEATURES}, ") for line in caplog.messages) == 1


def test_training_clips_equal_the_clips_of_frames(make: Any) -> None:
    """Also for a varying frame rate. The random crop is always the full frame here."""
    cfg = make()
    cached = build_dataset(cfg, "train", feature_shape=(WIDTH,))
    direct = build_dataset(without_cache(cfg), "train")
    model = build_seeded_model(cfg, World(), fetch_weights=True)
    for index in range(len(direct)):
        row, clip = cached[(3, index)], direct[(3, index)]
        assert isinstance(row, FeatureClip)
        assert isinstance(clip, Clip)
        assert torch.equal(row.positions, clip.positions)
        frames = (clip.frames[None].float() / 255 - 0.45) / 0.225
        torch.testing.assert_close(row.features, model.encode_frames(frames)[0], rtol=1e-5, atol=1e-5)


def test_segments_of_videos_are_found_by_their_seconds(make: Any, videos: Path, tmp_path: Path) -> None:
    data = tmp_path / "parts"
    data.mkdir()
    rows = "".join(f"clips/{i}.mp4 0 0.1 0.35\nclips/{i}.mp4 1 0.2 9\n" for i in range(8))
    for split in ("train", "val", "test"):
        (data / f"{split}.csv").write_text("path label start end\n" + rows)
    cfg = make("DATA.PATH_TO_DATA_DIR", str(data), "DATA.PATH_PREFIX", str(videos))
    assert len(list((tmp_path / "cache/times/clips").iterdir())) == 8, "one file of features per video"
    cached, direct = build_dataset(cfg, "test"), build_dataset(without_cache(cfg), "test")
    for index in range(len(direct)):
        assert torch.equal(cached[index].positions, direct[index].positions)
    assert np.abs(scores(cfg) - scores(without_cache(cfg))).max() < 1e-5


def test_positions_in_seconds_equal_the_positions_of_frames(make: Any) -> None:
    cfg = make()
    cached = build_dataset(cfg, "test", position_rate=25.0)
    direct = build_dataset(without_cache(cfg), "test", position_rate=25.0)
    for index in range(len(direct)):
        assert torch.equal(cached[index].positions, direct[index].positions)


@pytest.mark.parametrize("processes", [1, 2])
def test_training_from_the_cache_equals_training_from_frames(
    make: Any, tmp_path: Path, processes: int
) -> None:
    """Compares losses and accuracies, also in two processes."""
    cfg = make("OUTPUT_DIR", str(tmp_path / "cached"), "LOG_MODEL_INFO", True)
    direct = without_cache(cfg)
    direct.OUTPUT_DIR = str(tmp_path / "direct")
    for config in (cfg, direct):
        address, shards = free_local_address(), []
        for shard in range(processes):
            own = config.clone()
            own.defrost()
            own.NUM_SHARDS, own.SHARD_ID, own.TRAIN.BATCH_SIZE = processes, shard, 4 // processes
            shards.append((own, address))
        assert run_all(run, shards) == [0] * processes
    for kind, name in (("train_iter", "loss"), ("val_epoch", "top1_err"), ("test_final", "top1_acc")):
        cached, expected = (metrics_of(tmp_path / where, kind) for where in ("cached", "direct"))
        assert [line[name] for line in cached] == pytest.approx([line[name] for line in expected], rel=1e-4)
        assert cached


def test_crops_and_mirror_images_are_drawn_in_training(make: Any) -> None:
    def means(cfg: CfgNode) -> set[float]:
        dataset = build_dataset(cfg, "train", feature_shape=(WIDTH,))
        return {round(float(dataset[(epoch, 0)].features.sum()), 4) for epoch in range(40)}

    all_frames = ("DATA.NUM_FRAMES", 64)  # so that clips differ in their crops only
    cfg = make("DATA.TRAIN_CROP_SIZE", 28, *all_frames, crops=1, flips=True, short_sides=(32,))
    assert len(means(cfg)) == 1, "DATA.RANDOM_FLIP is False"
    cfg.defrost()
    cfg.DATA.RANDOM_FLIP = True
    assert len(means(cfg)) == 2


def test_training_uses_the_variants_that_its_own_videos_have(videos: Path, tmp_path: Path) -> None:
    """The manifest also lists those of the other splits, whose videos are others here."""
    data = tmp_path / "data"
    data.mkdir()
    for split, first in (("train", 0), ("val", 4), ("test", 6)):
        write_csv(data / f"{split}.csv", [(f"clips/{i}.mp4", i % 3) for i in range(first, first + 2)])
    cfg = feature_config(
        data, tmp_path, "DATA.PATH_PREFIX", str(videos), "DATA.FEATURES", str(tmp_path / "cache"),
        "DATA.TRAIN_JITTER_SCALES", [32, 40],
    )  # fmt: skip
    extract_features(cfg, World(), Interrupt(), ExtractionRequest(short_sides=(36,)))
    names = {variant.name for variant in Manifest.read(tmp_path / "cache").variants}
    assert names == {"short36-crop32-1of1", "short32-crop32-1of1"}
    dataset = build_dataset(cfg, "train", feature_shape=(WIDTH,))
    for epoch in range(10):
        clip = dataset[(epoch, 0)]
        assert isinstance(clip, FeatureClip)
        assert not clip.broken
