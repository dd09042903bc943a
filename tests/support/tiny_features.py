"""A model that encodes each frame on its own, with a frozen encoder, and its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast.distributed.world import World
from slowfast.engine.evaluator import build_evaluator
from slowfast.engine.run_model import build_seeded_model
from slowfast.interrupt import Interrupt
from slowfast.models.build import MODEL_REGISTRY
from slowfast.models.weights_hash import weights_hash
from tests.support.tiny import CLASSES, tiny_config

WIDTH = 8


@MODEL_REGISTRY.register("TinyFeatures")
class TinyFeatures(nn.Module):
    """A convolution encodes each frame; means over the real frames, weighted by position, are classified."""

    frame_mean = frame_std = (0.5, 0.5, 0.5)
    num_classes = CLASSES
    feature_dim = WIDTH
    position_rate: float | None = None

    def __init__(self, dropout: float = 0.0, *, frozen: bool = True) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, WIDTH, 8, stride=4).requires_grad_(not frozen)
        self.hidden = nn.Linear(2 * WIDTH, 16)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(16, CLASSES)
        self.frozen = frozen

    @classmethod
    def from_config(cls, cfg: CfgNode, *, fetch_weights: bool = True) -> TinyFeatures:
        return cls(cfg.MODEL.DROPOUT_RATE, frozen=cfg.MODEL.ARCH == "frozen")

    @property
    def learns_features(self) -> bool:
        return not self.frozen

    def feature_source(self) -> Mapping[str, Any]:
        return {"backbone": "convolution", "weights": weights_hash(self.encoder)}

    def encode_frames(self, frames: Tensor) -> Tensor:
        images = frames.transpose(1, 2).flatten(0, 1)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = self.encoder(images).tanh().mean(dim=(2, 3))
        return features.unflatten(0, (len(frames), frames.shape[2]))

    def classify(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        if positions is None:
            positions = torch.arange(features.shape[1]).expand(features.shape[:2])
        real = torch.ones_like(positions) if mask is None else mask
        weights = torch.stack([real, real * torch.cos(positions)], dim=2)  # (B, T, 2)
        states = torch.einsum("btw,btf->bwf", weights.float(), features) / real.sum(1)[:, None, None]
        return self.head(self.dropout(self.hidden(states.flatten(1)).relu())) * 10

    def forward(self, frames: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        return self.classify(self.encode_frames(frames), positions, mask)


def feature_config(data: Path, output: Path, *changes: Any) -> CfgNode:
    """Returns a configuration that trains the classifier of features; frames of 32 pixels are not cropped."""
    options = (
        "MODEL.MODEL_NAME", "TinyFeatures", "MODEL.ARCH", "frozen", "DATA.TRAIN_JITTER_SCALES", [32, 32],
        "DATA.RANDOM_FLIP", False, "SOLVER.MAX_EPOCH", 1, "TEST.NUM_ENSEMBLE_VIEWS", 2,
    )  # fmt: skip
    return tiny_config(data, output, *options, *changes)


def without_cache(cfg: CfgNode) -> CfgNode:
    """Returns the configuration that computes the features from the frames."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATA.FEATURES = ""
    return cfg


def scores(cfg: CfgNode) -> Any:
    """Returns the logits of the untrained model on the test split."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.HEAD_ACT = "none"
    model: Any = build_seeded_model(cfg, World(), fetch_weights=True)
    evaluation = build_evaluator(cfg, "test", model, World(), Interrupt()).run()
    assert evaluation is not None
    assert not evaluation.broken
    return evaluation.scores
