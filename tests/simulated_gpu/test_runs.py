"""Complete runs on a GPU mix no devices and have the losses of the CPU, whatever is configured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slowfast.engine.run import run
from tests.support.run_results import losses_of, metrics_of
from tests.support.simulation.gpu import simulated_gpu
from tests.support.tiny import tiny_config
from tests.support.tiny_models import NO_DROPOUT, SMALL_VTN

# AdamW would make steps as large of gradients that are 0 up to rounding.
VTN = (*SMALL_VTN, *NO_DROPOUT, "SOLVER.OPTIMIZING_METHOD", "sgd")
FROZEN_RESNET = (
    *VTN, "VTN.BACKBONE.NAME", "test_resnet", "VTN.BACKBONE.ARGS", {}, "VTN.BACKBONE.FROZEN", True,
)  # fmt: skip
RUNS: dict[str, tuple[Any, ...]] = {
    "plain": ("MODEL.DROPOUT_RATE", 0.0, "TEST.ENABLE", True, "DATA_LOADER.NUM_WORKERS", 1),
    "averaged": (*VTN, "MODEL_EMA.ENABLE", True, "TRAIN.GRAD_ACCUM_STEPS", 2, "SOLVER.CLIP_GRAD_L2NORM", 0.5),
    "recomputed": (*VTN, "VTN.BACKBONE.ACT_CHECKPOINT", True),
    "weighted": (
        *VTN, "LOSS.CLASS_WEIGHTS", "balanced", "LOSS.LOGIT_ADJUSTMENT", 1.0, "LOSS.LABEL_SMOOTHING", 0.1,
    ),
    "mixed": (
        *VTN, "MIXUP.ENABLE", True, "MODEL.LOSS_FUNC", "soft_cross_entropy", "LOG_MODEL_INFO", True,
    ),
    "frozen": (*FROZEN_RESNET, "VTN.INPUT.STANDARDIZE", True, "VTN.HEAD.SKIP", True, "TEST.ENABLE", True),
    "sines": (*VTN, "VTN.LONGFORMER.POSITION", "sinusoidal"),
    "streamed": (*FROZEN_RESNET, "TRAIN.EVAL_STREAM_FRAMES", 6, "VTN.INPUT.DIFFERENCES", True),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind"),
    [*((name, "cuda") for name in RUNS), ("plain", "mps"), ("mixed", "mps"), ("sines", "mps")],
)
def test_the_losses_are_those_of_the_cpu(colour_videos: Path, tmp_path: Path, name: str, kind: str) -> None:
    options = (*RUNS[name], "TRAIN.MAX_STEPS", 3)
    assert run(tiny_config(colour_videos, tmp_path / "cpu", *options)) == 0
    with simulated_gpu(kind):
        assert run(tiny_config(colour_videos, tmp_path / "gpu", *options, "NUM_GPUS", 1)) == 0
    assert losses_of(tmp_path / "gpu") == pytest.approx(losses_of(tmp_path / "cpu"), rel=1e-3)
    losses = [metrics_of(tmp_path / place, "val_epoch")[-1]["loss"] for place in ("cpu", "gpu")]
    assert losses[0] == losses[1] or losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert f"this is rank 0 on {kind}:0" in (tmp_path / "gpu" / "stdout.log").read_text()


@pytest.mark.parametrize("first", ["cpu", "gpu"])
def test_a_run_is_resumed_on_the_other_device(colour_videos: Path, tmp_path: Path, first: str) -> None:
    options = (*VTN, "MODEL_EMA.ENABLE", True, "SOLVER.OPTIMIZING_METHOD", "adamw")
    unbroken = tmp_path / "unbroken"
    assert run(tiny_config(colour_videos, unbroken, *options, "TRAIN.MAX_STEPS", 4)) == 0
    for place, steps in ((first, 2), ({"cpu": "gpu", "gpu": "cpu"}[first], 4)):
        cfg = (*options, "TRAIN.MAX_STEPS", steps, "NUM_GPUS", int(place == "gpu"))
        if place == "gpu":
            with simulated_gpu():
                assert run(tiny_config(colour_videos, tmp_path / "moved", *cfg)) == 0
        else:
            assert run(tiny_config(colour_videos, tmp_path / "moved", *cfg)) == 0
    assert losses_of(tmp_path / "moved") == pytest.approx(losses_of(unbroken), rel=1e-3)
