"""VTN trained and tested on features, of its own backbone and of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast.config import load_config
from slowfast.distributed.world import World
from slowfast.engine.dry_run import run_dry
from slowfast.engine.evaluator import build_evaluator
from slowfast.engine.run import run
from slowfast.engine.run_model import build_seeded_model
from slowfast.errors import InputError
from slowfast.extraction.extract import ExtractionRequest, extract_features
from slowfast.interrupt import Interrupt
from tests.support.tiny_models import tiny, tiny_average, tiny_probe
from vtn import VTN

SMALL = [
    "VTN.LONGFORMER.HIDDEN_DIM", "16", "VTN.LONGFORMER.INTERMEDIATE_SIZE", "32", "VTN.HEAD.MLP_DIM", "16",
    "VTN.LONGFORMER.NUM_ATTENTION_HEADS", "2", "NUM_GPUS", "0", "DATA_LOADER.NUM_WORKERS", "0",
    "TRAIN.BATCH_SIZE", "4", "SOLVER.MAX_EPOCH", "1", "VTN.BACKBONE.FROZEN", "True",
]  # fmt: skip


def config(data: Path, output: Path, *changes: Any, base: str = "QUICKSTART") -> CfgNode:
    own = ["DATA.PATH_TO_DATA_DIR", str(data), "OUTPUT_DIR", str(output), *map(str, changes)]
    return load_config(base, [*SMALL, *own])


def logits(cfg: CfgNode) -> Any:
    model: Any = build_seeded_model(cfg, World(), fetch_weights=True)
    evaluation = build_evaluator(cfg, "test", model, World(), Interrupt()).run()
    assert evaluation is not None
    return evaluation.scores


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 1e-3)])
@pytest.mark.parametrize("model", ["VTN", "FrameAverage", "AttentiveProbe"])
def test_logits_from_the_cache_equal_the_logits_from_frames(
    small_dataset: Path, tmp_path: Path, model: str, dtype: str, tolerance: float
) -> None:
    changes = ("MODEL.MODEL_NAME", model, "MODEL.HEAD_ACT", "none")
    cfg = config(small_dataset, tmp_path, *changes, "DATA.FEATURES", tmp_path / "cache")
    extract_features(cfg, World(), Interrupt(), ExtractionRequest(dtype=dtype))
    cached, direct = logits(cfg), logits(config(small_dataset, tmp_path, *changes))
    assert np.abs(cached - direct).max() < tolerance


def test_a_dry_run_on_a_cache_has_the_weights_of_the_extraction(small_dataset: Path, tmp_path: Path) -> None:
    """A dry run on frames builds random weights, which such a cache would be refused for."""
    backbone = build_seeded_model(config(small_dataset, tmp_path), World(), fetch_weights=True).backbone
    torch.save({name: weight * 2 for name, weight in backbone.state_dict().items()}, tmp_path / "weights.pth")
    changes = ("VTN.BACKBONE.CHECKPOINT", tmp_path / "weights.pth", "DATA.FEATURES", tmp_path / "cache")
    cfg = config(small_dataset, tmp_path / "run", *changes)
    extract_features(cfg, World(), Interrupt(), ExtractionRequest())
    assert run_dry(cfg, World(), Interrupt())[0].headroom.compute > 0


def test_features_of_other_programs_need_no_backbone(tmp_path: Path) -> None:
    """Trains and tests on files whose width differs from the width of the encoder."""
    generator = np.random.default_rng(0)
    for number in range(8):
        np.save(tmp_path / f"{number}.npy", generator.normal(number % 2, 0.1, (30, 24)).astype(np.float32))
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.csv").write_text("".join(f"{number} {number % 2}\n" for number in range(8)))
    cfg = config(
        tmp_path, tmp_path / "run", "TRAIN.DATASET", "features", "TEST.DATASET", "features",
        "DATA.PATH_PREFIX", tmp_path, "DATA.FEATURES_FPS", 25, "VTN.BACKBONE.NAME", "precomputed",
        "VTN.BACKBONE.ARGS", "{'feature_dim': 24}", "VTN.BACKBONE.PRETRAINED", False, "SOLVER.MAX_EPOCH", 15,
        "SOLVER.BASE_LR", 0.01, "SOLVER.OPTIMIZING_METHOD", "adamw", "LOG_MODEL_INFO", True,
        "MODEL.NUM_CLASSES", 2, "TEST.SAVE_RESULTS_PATH", "results.npz", "TRAIN.EVAL_PERIOD", 15,
        "TRAIN.CHECKPOINT_PERIOD", 15, base="VIT_B_VTN",
    )  # fmt: skip
    assert run(cfg) == 0
    with np.load(tmp_path / "run/results.npz") as results:
        assert (results["scores"].argmax(axis=1) == results["labels"]).all()


def test_precomputed_features_have_no_frames() -> None:
    model = VTN("precomputed", num_classes=3, backbone_args={"feature_dim": 24}, hidden_dim=32, num_heads=2)
    assert model.classify(torch.randn(2, 5, 24)).shape == (2, 3)
    with pytest.raises(InputError, match="cannot encode frames"):
        model(torch.randn(1, 3, 2, 16, 16))


@pytest.mark.parametrize("build", [tiny, tiny_average, tiny_probe])
def test_a_model_describes_the_source_of_its_features(build: Any) -> None:
    model, source = build(), build().feature_source()
    assert source == model.feature_source()
    assert source["backbone"] == "shallow_conv"
    assert "tokens" not in source, "one token is described as by earlier versions"
    assert build(backbone_args={"image_size": 16, "width": 4, "feature_dim": 16}).feature_source() != source
    with torch.no_grad():
        next(model.backbone.parameters()).flatten()[0] += 1
    assert model.feature_source() != source
    assert model.learns_features
    assert not build(frozen=True).learns_features
