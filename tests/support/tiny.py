"""A model with a few hundred weights, a configuration for it, and a command that runs it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

# This file is also run as a script.
sys.path.append(str(Path(__file__).parents[2]))

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast.models.build import MODEL_REGISTRY
from tests.support.configs import make_config

CLASSES = 3


@MODEL_REGISTRY.register("Tiny")
class Tiny(nn.Module):
    """Two layers, with dropout between them, on the mean colours of a 4 × 4 grid over the real frames."""

    frame_mean = frame_std = (0.5, 0.5, 0.5)
    position_rate = None
    num_classes = CLASSES

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden = nn.Linear(48, 16)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(16, CLASSES)

    @classmethod
    def from_config(cls, cfg: CfgNode, *, fetch_weights: bool = True) -> Tiny:
        return cls(cfg.MODEL.DROPOUT_RATE)

    def forward(self, frames: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        grid = nn.functional.adaptive_avg_pool3d(frames, (frames.shape[2], 4, 4))  # (B, 3, T, 4, 4)
        if mask is not None:
            grid = grid * mask[:, None, :, None, None]
        real = frames.shape[2] if mask is None else mask.sum(1)[:, None]
        return self.head(self.dropout(self.hidden(grid.sum(2).flatten(1) / real).relu()))  # (B, K)


def tiny_config(data: Path, output: Path, *changes: Any) -> CfgNode:
    """Returns the configuration of three epochs of six steps on the CPU.

    ``changes`` are further ``KEY, value`` pairs.
    """
    values = {
        "TRAIN.BATCH_SIZE": 4, "TRAIN.EVAL_PERIOD": 1, "TRAIN.CHECKPOINT_PERIOD": 1,
        "TEST.BATCH_SIZE": 4, "TEST.NUM_ENSEMBLE_VIEWS": 2, "TEST.NUM_SPATIAL_CROPS": 1,
        "TEST.SAVE_RESULTS_PATH": "predictions.npz",
        "MODEL.MODEL_NAME": "Tiny", "MODEL.NUM_CLASSES": CLASSES, "MODEL.DROPOUT_RATE": 0.3,
        "DATA.PATH_TO_DATA_DIR": str(data), "DATA.NUM_FRAMES": 4, "DATA.SAMPLING_RATE": 2,
        "DATA.TRAIN_JITTER_SCALES": [32, 36], "DATA.TRAIN_CROP_SIZE": 32, "DATA.TEST_CROP_SIZE": 32,
        "DATA_LOADER.NUM_WORKERS": 0,
        "SOLVER.BASE_LR": 0.05, "SOLVER.MAX_EPOCH": 3, "SOLVER.OPTIMIZING_METHOD": "sgd",
        "NUM_GPUS": 0, "LOG_PERIOD": 1, "OUTPUT_DIR": str(output),
    }  # fmt: skip
    return make_config(values, *changes)


def main() -> int:
    """Runs ``tiny.py DATA OUTPUT INIT_METHOD [KEY VALUE …]``."""
    from slowfast.engine.run import run

    torch.set_num_threads(1)
    data, output, init_method, *changes = sys.argv[1:]
    # Mappings are the only values that the configuration does not read from text.
    values = [ast.literal_eval(change) if change.startswith("{") else change for change in changes]
    return run(tiny_config(Path(data), Path(output), *values), init_method)


if __name__ == "__main__":
    sys.exit(main())
