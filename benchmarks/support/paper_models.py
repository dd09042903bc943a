"""The models that are compared with VTN, with the values that their authors have published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fvcore.common.config import CfgNode
from torch import Tensor, nn

from benchmarks.support.recorded_steps import as_overrides
from slowfast.config import load_config
from slowfast.models import build_model


@dataclass(frozen=True)
class Published:
    """The published values of a model.

    Attributes:
        parameters: in millions.
        gmacs: multiply-adds per view in 10⁹, as counted by the authors.
        views: number of views per test video.
        epochs: length of the training on Kinetics-400.
        source: publication of the values.
    """

    parameters: float | None
    gmacs: float | None
    views: int
    epochs: int | None
    source: str


@dataclass(frozen=True)
class Candidate:
    """A model of the comparison.

    Attributes:
        config: name of the recipe for the data, and for the model unless ``build`` constructs another one.
        published: see :class:`Published`.
        overrides: changes of the recipe, ``KEY, VALUE, …``.
        build: returns the model for the configuration.
    """

    config: str
    published: Published
    overrides: tuple[str, ...] = ()
    build: Callable[[CfgNode], nn.Module] = field(default=lambda cfg: build_model(cfg, fetch_weights=False))

    def load(self) -> CfgNode:
        """Returns the configuration for the CPU, without loader workers."""
        return load_config(self.config, ["NUM_GPUS", "0", "DATA_LOADER.NUM_WORKERS", "0", *self.overrides])


class HuggingFaceVideo(nn.Module):
    """A video classifier of ``transformers`` whose input is frames (B, 3, T, H, W)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> Tensor:
        """Maps frames (B, 3, T, H, W) to logits (B, K)."""
        return self.model(pixel_values=frames.transpose(1, 2)).logits


def timesformer(cfg: CfgNode) -> nn.Module:
    """Returns TimeSformer-B with random weights."""
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    config = TimesformerConfig(num_frames=cfg.DATA.NUM_FRAMES, num_labels=cfg.MODEL.NUM_CLASSES)
    return HuggingFaceVideo(TimesformerForVideoClassification(config))


def videomae(cfg: CfgNode) -> nn.Module:
    """Returns VideoMAE-B with random weights."""
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    config = VideoMAEConfig(
        num_frames=cfg.DATA.NUM_FRAMES, num_labels=cfg.MODEL.NUM_CLASSES, use_mean_pooling=True
    )
    return HuggingFaceVideo(VideoMAEForVideoClassification(config))


def _clips(frames: int, rate: int, views: int, crops: int) -> tuple[str, ...]:
    """Returns overrides of a VTN recipe for a model that is tested on clips of 224 × 224 pixels."""
    values = {
        "DATA.NUM_FRAMES": frames, "DATA.SAMPLING_RATE": rate, "TRAIN.EVAL_FULL_VIDEO": False,
        "TEST.NUM_ENSEMBLE_VIEWS": views, "TEST.NUM_SPATIAL_CROPS": crops,
    }  # fmt: skip
    return tuple(as_overrides(values))


CANDIDATES: Mapping[str, Candidate] = {
    "ViT-B-VTN": Candidate("VIT_B_VTN", Published(114.0, 4218, 1, 25, "VTN, arXiv 2102.00719")),
    "ViT-B-VTN-1": Candidate("VIT_B_VTN_1LAYER", Published(95.9, None, 1, 25, "VTN, arXiv 2102.00719")),
    "SlowFast-R101-NL": Candidate(
        "SLOWFAST_NLN_16x8_R101", Published(59.9, 234, 30, 196, "SlowFast, arXiv 1812.03982")
    ),
    "I3D-R50": Candidate("I3D_8x8_R50", Published(28.04, 37.53, 30, 196, "pytorchvideo's model zoo")),
    "X3D-M": Candidate("X3D_M", Published(3.8, 6.2, 30, 300, "X3D, arXiv 2004.04730")),
    "MViT-B": Candidate("MVIT_B_16x4", Published(36.6, 70.5, 5, 200, "MViT, arXiv 2104.11227")),
    "TimeSformer": Candidate(
        "VIT_B_VTN",
        Published(121.4, 196, 3, 15, "TimeSformer, arXiv 2102.05095"),
        _clips(8, 32, 1, 3),
        timesformer,
    ),
    "VideoMAE-B": Candidate(
        "VIT_B_VTN",
        Published(87, 180, 15, None, "VideoMAE, arXiv 2203.12602"),
        _clips(16, 4, 5, 3),
        videomae,
    ),
}
OURS, THEIRS = "ViT-B-VTN", "SlowFast-R101-NL"
"""The two models that the paper compares: VTN trains 16.1 times and infers 5.1 times as fast."""
