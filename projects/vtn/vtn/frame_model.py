"""The base of this project's models: a backbone that maps each frame to a feature, and a head.

B clips, T frames, H W pixels, M tokens per frame, F width of a token, D width of the head's input, K classes.
Features are (B, T, M, F), and (B, T, F) for M = 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

from fvcore.common.config import CfgNode
from torch import Tensor, nn

import vtn.backbones.precomputed  # noqa: F401 (registers its backbone)
from slowfast.log import get_logger
from vtn.arguments.groups import HeadConfig
from vtn.arguments.model_arguments import ModelArguments
from vtn.backbones.frames.backbone_model import BackboneModel
from vtn.backbones.tuning.blocks import parameter_depths
from vtn.hub import HubModel

logger = get_logger(__name__)


class FrameModel(HubModel, BackboneModel):
    """A video model that passes each frame through a 2D backbone; subclasses classify the features.

    Args:
        arguments: groups of arguments, see :mod:`vtn.arguments`.

    Attributes:
        arguments: as given.
        arguments_type: class of ``arguments``; subclasses with further groups have their own.
        num_classes: K.
        position_rate: see ``slowfast.models.capabilities.VideoModel``.
        Others as in :class:`vtn.hub.HubModel` and :class:`vtn.backbones.frames.tuned_backbone.TunedBackbone`.

    Raises:
        ModelError: for a backbone that is unknown or does not accept its arguments.
        CheckpointError: for weights of the backbone that are damaged or do not fit.
    """

    arguments_type: ClassVar[type[ModelArguments]] = ModelArguments
    num_layers = 0
    """Number of layers between the backbone and the head."""

    def __init__(self, arguments: ModelArguments) -> None:
        super().__init__(arguments.backbone)
        self.arguments = arguments
        self.position_rate: float | None = None
        self.num_classes = arguments.num_classes

    @classmethod
    def from_config(cls, cfg: CfgNode, *, fetch_weights: bool = True, **fields: Any) -> Self:
        """Builds the model that the sections ``MODEL`` and ``VTN`` of a configuration describe.

        Subclasses whose constructor does not take the groups as keyword arguments must override it; they
        cannot be saved as folders.

        Args:
            fetch_weights: False: no weights of backbone or encoder are loaded, since those of the whole model
                are loaded next.
            fields: arguments of the constructor, which replace those of the configuration.

        Raises:
            ModelError: for an unknown argument, or a model that cannot be built from the arguments.
        """
        arguments = cls.arguments_type.from_config(cfg).changed(fields)
        if not fetch_weights:
            arguments = arguments.without_weights()
        model = cls(**arguments.as_keywords())
        if fetch_weights and isinstance(arguments.backbone.name, str) and not arguments.backbone.pretrained:
            _log_random_weights(model, features_are_kept=bool(cfg.DATA.FEATURES))
        return model

    def forward(self, frames: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Maps normalised float frames (B, 3, T, H, W) to logits (B, K).

        Args:
            positions: (B, T) of an integer dtype, see :meth:`classify`. A time step of a clip encoder has the
                position in the middle of those of its first and its last frame, rounded down.
            mask: (B, T) bool, True where a frame is real. None: all are real.
        """
        features = self.encode_frames(frames, mask)
        if self.clip_grid is not None:
            steps = self.clip_grid.step_positions(positions, mask, frames.shape[2], frames.device)
            positions = steps.expand(len(frames), -1)
            mask = self.clip_grid.step_mask(mask)
        return self.classify(features, positions, mask)

    def classify(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Maps features to logits; each subclass does this in its own way.

        Args:
            features: (B, T, F) or (B, T, M, F) of any float dtype, as :meth:`encode_frames` returns them.
            positions: (B, T) of an integer dtype: indices of the frames in their source video, or
                ``round(seconds × position_rate)``. None: 0 … T − 1.
            mask: (B, T) bool, True where a frame is real. None: all are real.

        Returns:
            Logits (B, K).

        Raises:
            InputError: for shapes or dtypes that do not fit, for a clip without a real frame, and in
                evaluation mode for features that are not finite.

        >>> import torch
        >>> from vtn import VTN, BackboneConfig
        >>> backbone = BackboneConfig("shallow_conv", pretrained=False, args={"feature_dim": 24})
        >>> model = VTN(backbone, num_classes=5).eval()
        >>> model.classify(torch.zeros(2, 6, 24), positions=torch.tensor([[0, 4, 8, 12, 16, 20]] * 2)).shape
        torch.Size([2, 5])
        """
        raise NotImplementedError

    def layer_id(self, name: str) -> tuple[int, int]:
        """Returns (depth of the parameter ``name`` from the input, number of depths).

        First come the backbone's depths (as timm groups them; one depth where the backbone has no groups),
        then one depth for embeddings and projection, one for each encoder layer, and one for the head.
        """
        depth_of = self._backbone_depths
        backbone_depths = 1 + max(depth_of.values(), default=0)
        total = backbone_depths + 1 + self.num_layers + 1
        if name.startswith("backbone."):
            return depth_of.get(name.removeprefix("backbone."), 0), total
        if name.startswith(("mlp_head.", "statistics_skip.")):
            return total - 1, total
        layer = re.match(r"temporal_encoder\.encoder\.layer\.(\d+)\.", name)
        return backbone_depths + (1 + int(layer[1]) if layer else 0), total

    @cached_property
    def _backbone_depths(self) -> Mapping[str, int]:
        """Depth of each of the backbone's parameters, by its name within the backbone."""
        return parameter_depths(self.backbone)


def build_head(width: int, config: HeadConfig, num_classes: int) -> nn.Sequential:
    """Returns the classifier of a state (B, D): LayerNorm, Linear, GELU, Dropout, Linear -> (B, K)."""
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, config.mlp_dim),
        nn.GELU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.mlp_dim, num_classes),
    )


def _log_random_weights(model: FrameModel, *, features_are_kept: bool) -> None:
    """Logs that a backbone starts from random weights; as a warning where it does not learn better ones.

    Args:
        features_are_kept: whether its features are extracted or read from a cache.
    """
    if not any(True for _ in model.backbone.parameters()):
        return
    text = "backbone %s: random weights (VTN.BACKBONE.PRETRAINED False)"
    if features_are_kept or not model.learns_features:
        logger.warning(f"{text}, which are not trained", model.arguments.backbone.name)
    else:
        logger.info(text, model.arguments.backbone.name)
