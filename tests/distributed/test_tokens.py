"""Training of models with several tokens per frame over two processes, replicated or sharded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch.distributed.fsdp  # noqa: F401 (once here instead of in each process)

from tests.support.run_results import assert_same_metrics, losses_of, train_distributed
from tests.support.tiny_models import NO_DROPOUT, SMALL_VTN

FSDP = ("PARALLEL.MODE", "fsdp")
TOKENS = (*SMALL_VTN, *NO_DROPOUT, "TRAIN.MAX_STEPS", 3, "VTN.BACKBONE.TOKENS", [2, 2])
VIT = {
    "image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
    "intermediate_size": 48,
}  # fmt: skip
TRANSFORMERS = (
    "VTN.BACKBONE.NAME", "hf:vit", "VTN.BACKBONE.ARGS", VIT, "VTN.BACKBONE.CLASS_TOKEN", True,
    "VTN.BACKBONE.STAGE", 2,
)  # fmt: skip
MODELS: dict[str, tuple[Any, ...]] = {
    "concat": ("VTN.FUSION", "concat"),
    "attend": ("VTN.FUSION", "attend"),
    "sequence": ("VTN.FUSION", "sequence"),
    "mean of frames": ("MODEL.MODEL_NAME", "FrameAverage"),
    "class token of an earlier block": TRANSFORMERS,
    "earlier block, recomputed": (*TRANSFORMERS, "VTN.BACKBONE.ACT_CHECKPOINT", True),
    "earlier block, LoRA": (*TRANSFORMERS, "VTN.BACKBONE.LORA.RANK", 2),
    "earlier block, frozen": (*TRANSFORMERS, "VTN.BACKBONE.FROZEN", True),
}


pytestmark = pytest.mark.usefixtures("projects_imported")


@pytest.mark.faults
@pytest.mark.parametrize("model", MODELS)
def test_two_processes_have_the_metrics_of_one(model: str, colour_videos: Path, tmp_path: Path) -> None:
    """Every parameter has a gradient in every process, also where later blocks are not computed."""
    options = (*TOKENS, *MODELS[model])
    train_distributed(1, colour_videos, tmp_path / "one", *options)
    losses = losses_of(tmp_path / "one")
    assert len(set(losses)) == 3  # it learns
    for name, mode in (("replicated", ()), ("sharded", FSDP)):
        train_distributed(2, colour_videos, tmp_path / name, *options, *mode)
        assert_same_metrics(tmp_path / "one", tmp_path / name)
