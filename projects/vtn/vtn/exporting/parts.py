"""The parts of a model that are exported, as modules that can be traced for any number of clips and frames.

B clips, T frames, H W pixels, M tokens of a frame, F width of a feature, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.export import Dim

from slowfast.errors import ModelError
from slowfast.models.score_activations import SCORE_ACTIVATION_REGISTRY, ScoreActivation
from slowfast.models.weights_hash import weights_hash
from vtn.arguments.evaluation import build_evaluation_config
from vtn.exported.description import BACKBONE, ENCODER, FORMAT, MODEL, OUTPUTS, Description
from vtn.frame_model import FrameModel

_CLIPS, _FRAMES = 3, 7  # of the inputs with which a graph is traced; any numbers above 1


class _BackbonePart(nn.Module):
    def __init__(self, model: FrameModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> Tensor:
        return self.model.encode_frames(frames)


class _ScoringPart(nn.Module):
    def __init__(self, model: FrameModel, activation: ScoreActivation, *, takes_frames: bool) -> None:
        super().__init__()
        self.model = model
        self.activation = activation
        self._takes_frames = takes_frames

    def forward(self, values: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        classify = self.model if self._takes_frames else self.model.classify
        return self.activation(classify(values, positions, mask))


@dataclass(frozen=True)
class Part:
    """A part of a model that becomes one file.

    Attributes:
        description: of the file.
        module: maps the inputs to the output, in evaluation mode.
    """

    description: Description
    module: nn.Module

    @property
    def name(self) -> str:
        """``backbone``, ``encoder`` or ``model``."""
        return self.description.part

    @property
    def output(self) -> str:
        """Name of the output, ``features`` or ``scores``."""
        return OUTPUTS[self.name]

    @property
    def takes_frames(self) -> bool:
        """Whether the inputs contain frames."""
        return self.name != ENCODER

    @property
    def dynamic_shapes(self) -> tuple[Mapping[int, Any], ...]:
        """The free dimensions of each input."""
        batch, frames = Dim("batch", min=1), Dim("frames", min=1)
        features, images = {0: batch, 1: frames}, {0: batch, 2: frames}
        if self.name == BACKBONE:
            return (images,)
        return (images if self.name == MODEL else features, features, features)

    def make_inputs(self, num_clips: int = _CLIPS, num_frames: int = _FRAMES) -> tuple[Tensor, ...]:
        """Returns random inputs in the order of the graph's, the same for the same numbers.

        Positions have gaps. In the last clip the last third of the frames is not real.
        """
        B, T = num_clips, num_frames
        generator = torch.Generator().manual_seed(T)
        facts = self.description
        shape = (B, 3, T, *facts.frame_size) if self.takes_frames else (B, T, *facts.feature_shape)
        values = torch.randn(shape, generator=generator)
        if self.name == BACKBONE:
            return (values,)
        positions = torch.arange(T).repeat(B, 1) * 3 + (torch.arange(T) > T // 2)
        mask = torch.ones(B, T, dtype=torch.bool)
        mask[-1, T - T // 3 :] = False
        return values, positions, mask


def build_parts(model: Any, names: tuple[str, ...], *, source: str) -> list[Part]:
    """Returns parts of a model.

    Args:
        model: with ``evaluation``.
        names: ``backbone``, ``encoder`` and ``model``.
        source: the model's name, for messages.

    Raises:
        InputError: for a model without the sampling of its frames.
        ModelError: for parts that a model does not have.
        ConfigError: for an evaluation that is not valid.
    """
    cfg = build_evaluation_config(model.evaluation, model, source=source)
    model.eval()
    if any(name != ENCODER for name in names):
        _check_takes_frames(model, cfg, source)
    activation = SCORE_ACTIVATION_REGISTRY.get(cfg.MODEL.HEAD_ACT)
    modules: Mapping[str, nn.Module] = {
        BACKBONE: _BackbonePart(model),
        ENCODER: _ScoringPart(model, activation, takes_frames=False),
        MODEL: _ScoringPart(model, activation, takes_frames=True),
    }
    digest = weights_hash(model)
    return [Part(_build_description(model, cfg, name, digest), modules[name].eval()) for name in names]


def _check_takes_frames(model: Any, cfg: CfgNode, source: str) -> None:
    """Raises ``ModelError`` unless one graph can map the frames of any clip to features."""
    remedy = "export the encoder alone with --parts encoder, and give it features"
    if model.clip_grid is not None:
        raise ModelError(
            f"{source}: its backbone encodes clips ({model.clip_grid.describe()}), whose number depends on "
            f"the length of a video, so that it is not one graph; {remedy}"
        )
    if not getattr(model.backbone, "takes_frames", True):
        raise ModelError(f"{source}: its backbone does not take frames; {remedy}")
    if cfg.DATA.TEST_WHOLE_PICTURE:
        raise ModelError(
            f"{source}: is tested on whole pictures of any size (DATA.TEST_WHOLE_PICTURE = True): must be "
            f"False for a graph, whose frames have one size; {remedy}"
        )
    size = cfg.DATA.TEST_CROP_SIZE
    # Also fills the backbone's table of sizes, which it cannot do while it is traced.
    if problem := model.frame_size_problem(size, size):
        raise ModelError(f"{source}: {problem}")


def _build_description(model: Any, cfg: CfgNode, part: str, digest: str) -> Description:
    rate = model.position_rate
    return Description(
        format=FORMAT,
        part=part,
        architecture=type(model).__name__,
        weights_digest=digest,
        class_names=tuple(model.class_names),
        num_classes=model.num_classes,
        frame_size=(cfg.DATA.TEST_CROP_SIZE,) * 2,
        frame_mean=tuple(model.frame_mean),
        frame_std=tuple(model.frame_std),
        channels="BGR" if cfg.DATA.REVERSE_INPUT_CHANNEL else "RGB",
        feature_shape=tuple(model.feature_shape),
        position_rate=rate,
        position_unit=f"round(seconds * {rate:g})" if rate else "number of the frame in its video, from 0",
        frames_per_second=cfg.DATA.TARGET_FPS / cfg.DATA.SAMPLING_RATE,
        score_activation=cfg.MODEL.HEAD_ACT,
        evaluation=dict(model.evaluation),
    )
