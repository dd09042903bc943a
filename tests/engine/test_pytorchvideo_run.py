"""Runs of pytorchvideo's networks with their shipped configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slowfast.config import load_config
from slowfast.engine.prediction_file import load_predictions
from slowfast.engine.run import run
from tests.support.run_results import metrics_of

# Changes that make a configuration small enough for a test.
SMALL: dict[str, dict[str, Any]] = {
    "C2D_8x8_R50": {"RESNET.WIDTH_PER_GROUP": 8},
    "SLOWFAST_8x8_R50": {"RESNET.WIDTH_PER_GROUP": 16, "DATA.NUM_FRAMES": 8},
    "X3D_M": {"DATA.NUM_FRAMES": 8, "X3D.WIDTH_FACTOR": 1.0, "X3D.DEPTH_FACTOR": 1.0, "X3D.DIM_C5": 32},
    "MVIT_B_16x4": {
        "DATA.NUM_FRAMES": 8, "MVIT.DEPTH": 3, "MVIT.EMBED_DIM": 8, "MVIT.DIM_MUL": [[1, 2]],
        "MVIT.HEAD_MUL": [[1, 2]], "MVIT.POOL_Q_STRIDE": [[1, 1, 2, 2]],
        "MVIT.POOL_KV_STRIDE_ADAPTIVE": [1, 2, 2], "AUG.NUM_SAMPLE": 1,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_a_shipped_configuration_trains_and_tests(name: str, colour_videos: Path, tmp_path: Path) -> None:
    """The network classifies the colours of the training videos; the test has two views per video."""
    changes: dict[str, Any] = {
        "MODEL.NUM_CLASSES": 3, "MODEL.DROPOUT_RATE": 0.0, "MODEL.LOSS_FUNC": "cross_entropy",
        "DATA.PATH_TO_DATA_DIR": str(colour_videos), "DATA.SAMPLING_RATE": 1,
        "DATA.TRAIN_JITTER_SCALES": [32, 36], "DATA.TRAIN_JITTER_SCALES_RELATIVE": [],
        "DATA.TRAIN_CROP_SIZE": 32, "DATA.TEST_CROP_SIZE": 32, "DATA_LOADER.NUM_WORKERS": 0,
        "AUG.ENABLE": False, "MIXUP.ENABLE": False, "TRAIN.BATCH_SIZE": 13, "TRAIN.EVAL_PERIOD": 4,
        "TEST.BATCH_SIZE": 7, "TEST.NUM_ENSEMBLE_VIEWS": 2, "TEST.NUM_SPATIAL_CROPS": 1,
        "TEST.SAVE_RESULTS_PATH": "predictions.npz", "SOLVER.OPTIMIZING_METHOD": "adamw",
        "SOLVER.BASE_LR": 0.003, "SOLVER.WARMUP_EPOCHS": 0.0, "SOLVER.MAX_EPOCH": 4, "NUM_GPUS": 0,
        "OUTPUT_DIR": str(tmp_path), **SMALL[name],
    }  # fmt: skip
    cfg = load_config(name, [str(item) for pair in changes.items() for item in pair], for_run=True)
    assert run(cfg) == 0
    assert [line["top1_err"] for line in metrics_of(tmp_path, "train_epoch")][-1] < 10
    predictions = load_predictions(tmp_path / "predictions.npz")
    assert predictions.num_views.tolist() == [2] * 7
    assert np.isfinite(predictions.scores).all()
