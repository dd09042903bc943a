"""Trainings in memory: the samples, mixtures, learning rates and averages of ``slowfast run``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast.config import load_config
from slowfast.datasets.build import build_dataset
from slowfast.engine.run import run
from slowfast.errors import ModelError
from slowfast.probe.feature_table import FeatureTable, load_table
from slowfast.probe.training import Batches, Plans, Trained, train_and_score
from tests.support.probing.feature_files import FPS, ROWS, WIDTH, write_ordered_videos
from tests.support.run_results import metrics_of

CPU = torch.device("cpu")
VIDEOS = np.arange(12)
BALANCED = ("DATA_LOADER.TRAIN_SAMPLER", "balanced")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_ordered_videos(folder, num_videos=12, test_videos=4)
    (folder / "val.csv").write_text((folder / "test.csv").read_text())
    return folder


def config(videos: Path, *changes: Any) -> CfgNode:
    """Returns a configuration whose clips are all rows of a video: nothing but the seeds is random."""
    keys = (
        "TRAIN.DATASET", "features", "TEST.DATASET", "features", "DATA.FEATURES_FPS", FPS,
        "DATA.TARGET_FPS", FPS, "DATA.PATH_TO_DATA_DIR", videos, "DATA.INTERPOLATION", "bilinear",
        "MODEL.NUM_CLASSES", 2, "VTN.BACKBONE.TOKENS", [1, 1], "VTN.BACKBONE.NAME", "precomputed",
        "VTN.BACKBONE.ARGS", {"feature_dim": WIDTH}, "VTN.LONGFORMER.HIDDEN_DIM", 16, "NUM_GPUS", 0,
        "VTN.LONGFORMER.ATTENTION_PROBS_DROPOUT_PROB", 0.0, "VTN.LONGFORMER.HIDDEN_DROPOUT_PROB", 0.0,
        "MODEL.DROPOUT_RATE", 0.0, "TRAIN.FULL_VIDEO", True, "DATA.NUM_FRAMES", ROWS,
        "TRAIN.EVAL_NUM_FRAMES", ROWS, "TRAIN.BATCH_SIZE", 4, "SOLVER.MAX_EPOCH", 3,
        "DATA_LOADER.NUM_WORKERS", 0, "LOG_PERIOD", 1,
    )  # fmt: skip
    return load_config("PRETRAINED_DEMO", [str(value) for value in (*keys, *changes)])


def table_of(cfg: CfgNode) -> FeatureTable:
    return load_table(build_dataset(cfg, "train"))


def train(cfg: CfgNode) -> Trained:
    table = table_of(cfg)
    return train_and_score(
        cfg, table, lambda c, rate: Plans.of(c, table, rate), VIDEOS, VIDEOS, seed=1, device=CPU
    )


@pytest.mark.parametrize(
    "changes",
    [
        (),
        (*BALANCED, "SOLVER.CLIP_GRAD_L2NORM", 0.5),
        ("AUG.NUM_SAMPLE", 2, "VTN.INPUT.STANDARDIZE", True, "SOLVER.LR_FACTORS.mlp_head", 3.0),
        ("LOSS.LABEL_SMOOTHING", 0.2, "LOSS.CLASS_WEIGHTS", "balanced", *BALANCED),
        ("MIXUP.ENABLE", True, "MIXUP.CUTMIX_ALPHA", 0.0, "MODEL.LOSS_FUNC", "soft_cross_entropy"),
    ],
)
def test_the_losses_are_those_of_slowfast_run(videos: Path, tmp_path: Path, changes: tuple[Any, ...]) -> None:
    cfg = config(videos, "OUTPUT_DIR", tmp_path, "TRAIN.EVAL_PERIOD", 3, "TEST.ENABLE", False, *changes)
    losses = train(cfg).losses
    assert run(cfg, "") == 0
    steps = [line["loss"] for line in metrics_of(tmp_path, "train_iter")]
    expected = np.array(steps).reshape(len(losses), -1).mean(axis=1)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_the_averaged_weights_are_tested(videos: Path) -> None:
    average = ("MODEL_EMA.ENABLE", True, "MODEL_EMA.DECAY", 0.9)
    plain = train(config(videos))
    averaged = train(config(videos, *average))
    assert averaged.losses == plain.losses
    assert not np.allclose(averaged.scores, plain.scores)
    unused = train(config(videos, *average, "MODEL_EMA.EVALUATE", False))
    np.testing.assert_array_equal(unused.scores, plain.scores)


def test_clips_of_random_length_are_masked(videos: Path) -> None:
    cfg = config(videos, "DATA.TRAIN_JITTER_NUM_FRAMES", [4, 8])
    table = table_of(cfg)
    batches = Batches(cfg, Plans.of(cfg, table, None).training, table, VIDEOS, seed=1, device=CPU)
    lengths = [
        int(row.sum())
        for epoch in range(10)
        for (_, _, mask), _ in batches.epoch(epoch)
        if mask is not None
        for row in mask
    ]
    assert set(lengths) == {4, 5, 6, 7, 8}


def test_a_loss_that_is_not_finite_names_the_learning_rate(videos: Path) -> None:
    with pytest.raises(ModelError, match=r"use a smaller SOLVER\.BASE_LR = 1e\+30"):
        train(config(videos, "SOLVER.BASE_LR", 1e30, "SOLVER.WARMUP_EPOCHS", 0))
