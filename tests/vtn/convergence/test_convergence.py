"""A VTN learns the order of frames with AdamW, and stays at the class frequencies with SGD at a low rate.

The frames of all classes are the same, in opposite orders and at two speeds, so that the encoder is needed.
docs/EXPERIMENTS.md has the curves of the same comparison on the quickstart's videos.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from slowfast.engine.run import run
from tests.support.configs import load_changed
from tests.support.run_results import losses_of, metrics_of

CLASSES, FRAMES, WIDTH, VIDEOS = 4, 8, 16, 64
PAPER = ("SOLVER.OPTIMIZING_METHOD", "sgd", "SOLVER.BASE_LR", 0.001, "SOLVER.WARMUP_EPOCHS", 0)
OURS = ("SOLVER.OPTIMIZING_METHOD", "adamw", "SOLVER.BASE_LR", 0.002, "SOLVER.WARMUP_EPOCHS", 0.5)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of features: a point that circles in a plane; its direction and speed are the class."""
    folder = tmp_path_factory.mktemp("features")
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0].astype(np.float32)
    for split, count in (("train", VIDEOS), ("val", 32)):
        lines = []
        for video in range(count):
            label = video % CLASSES
            speed = (1 if label % 2 else -1) * (1 + label // 2)
            angles = rng.uniform(-0.3, 0.3) + speed * np.arange(FRAMES) * 0.7
            rows = 4 * (np.cos(angles)[:, None] * basis[0] + np.sin(angles)[:, None] * basis[1])
            rows = rows + rng.normal(0, 0.2, (FRAMES, WIDTH))
            np.save(folder / f"{split}{video}.npy", rows.astype(np.float32))
            lines.append(f"{folder}/{split}{video}.npy {label}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return folder


def train(features: Path, output: Path, seed: int, *solver: object) -> None:
    """Trains a small VTN for 120 steps on files of features."""
    cfg = load_changed(
        "QUICKSTART",
        "TRAIN.DATASET", "features", "TEST.ENABLE", False, "DATA.PATH_TO_DATA_DIR", features,
        "OUTPUT_DIR", output, "RNG_SEED", seed, "MODEL.NUM_CLASSES", CLASSES, "NUM_GPUS", 0,
        "VTN.BACKBONE.NAME", "precomputed", "VTN.BACKBONE.ARGS", "{}",
        "VTN.BACKBONE.ARGS.feature_dim", WIDTH, "VTN.LONGFORMER.HIDDEN_DIM", 32, "VTN.HEAD.MLP_DIM", 32,
        "VTN.LONGFORMER.INTERMEDIATE_SIZE", 64, "VTN.LONGFORMER.NUM_HIDDEN_LAYERS", 2,
        "VTN.LONGFORMER.POSITION_RATE", 8,
        "DATA.SAMPLING_RATE", 1, "DATA.TARGET_FPS", 8, "DATA.FEATURES_FPS", 8,
        "DATA_LOADER.NUM_WORKERS", 0, "SOLVER.MAX_EPOCH", 30, "TRAIN.EVAL_PERIOD", 30,
        "TRAIN.CHECKPOINT_PERIOD", 30, "LOG_PERIOD", 1, "TRAIN.STALL_STEPS", 60, *solver,
    )  # fmt: skip
    assert run(cfg) == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_adamw_learns_the_order_of_frames(features: Path, tmp_path: Path, seed: int) -> None:
    train(features, tmp_path, seed, *OURS)
    losses = losses_of(tmp_path)
    assert np.mean(losses[-10:]) < 0.5 * math.log(CLASSES)
    assert metrics_of(tmp_path, "val_epoch")[-1]["top1_err"] < 30
    assert "has not moved" not in (tmp_path / "stdout.log").read_text()


def test_sgd_at_a_low_rate_stays_at_the_class_frequencies_and_the_log_explains_it(
    features: Path, tmp_path: Path
) -> None:
    train(features, tmp_path, 1, *PAPER)
    losses = losses_of(tmp_path)
    assert np.mean(losses[-10:]) == pytest.approx(math.log(CLASSES), abs=0.1)
    (hint,) = [line for line in (tmp_path / "stdout.log").read_text().splitlines() if "has not moved" in line]
    assert "gradient norm" in hint
    assert "the states of [CLS] by" in hint
    assert "attention of [CLS] has" in hint
    assert "use SOLVER.OPTIMIZING_METHOD adamw" in hint
    # Gradients are there, and features differ: it is the rate that is too low.
    assert all(line["grad_norm"] > 1e-3 for line in metrics_of(tmp_path, "train_iter"))
    assert torch.isfinite(torch.tensor(losses)).all()
