"""The baseline without a temporal encoder: it averages the features of all frames and ignores their order.

B clips, T frames, H W pixels, M tokens of a frame, F width of a feature, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from torch import Tensor, nn

from slowfast.errors import ModelError
from slowfast.features.temporal_statistics import zero_masked
from slowfast.models.build import MODEL_REGISTRY
from vtn.arguments.backbone import BackboneConfig
from vtn.arguments.flat_fields import FusedModelFields
from vtn.arguments.groups import FusionConfig, HeadConfig, InputConfig
from vtn.arguments.model_arguments import FusedModelArguments
from vtn.backbones.frames.token_reader import token_grid
from vtn.encoder.fusion import build_fusion
from vtn.encoder.input_checks import check_sequence, check_state
from vtn.frame_model import FrameModel, build_head
from vtn.head.feature_input import PreparesFeatures, build_feature_input


@MODEL_REGISTRY.register()
class FrameAverage(PreparesFeatures, FrameModel):
    """A backbone, the mean over the real frames, and the head of VTN.

    Args:
        backbone: the image backbone: its name, a network, or all its settings as a :class:`BackboneConfig`.
        num_classes: number K of logits, 1 or more; by default the 400 of Kinetics.
        head: settings of the classifier.
        fusion: ``concat`` or ``attend``, which make one vector of several tokens per frame; for one token
            only its ``dim`` matters. Width 0 stands for F, for ``concat`` divided by M.
        input: standardisation and dropout of the features.
        fields: single fields of the groups by flat names, as for :class:`vtn.VTN`.

    Raises:
        ModelError: for unknown arguments, values out of range, and parts that do not fit together.
        CheckpointError: for weights of the backbone that are damaged or do not fit.

    >>> from vtn import BackboneConfig, FrameAverage
    >>> model = FrameAverage(BackboneConfig("shallow_conv", pretrained=False), num_classes=12)
    """

    arguments_type = FusedModelArguments
    arguments: FusedModelArguments

    def __init__(
        self,
        backbone: str | nn.Module | BackboneConfig | Mapping[str, Any] = "vit_base_patch16_224",
        num_classes: int = 400,
        *,
        head: HeadConfig | Mapping[str, Any] | None = None,
        fusion: str | FusionConfig | Mapping[str, Any] | None = None,
        input: InputConfig | Mapping[str, Any] | None = None,
        **fields: Unpack[FusedModelFields],
    ) -> None:
        groups = {"backbone": backbone, "head": head, "fusion": fusion, "input": input}
        arguments = self.arguments_type().changed({**groups, "num_classes": num_classes, **fields})
        _check_ignores_order(arguments)
        super().__init__(arguments)
        self.feature_input = build_feature_input(self.feature_dim, arguments.input)
        self.fusion = build_fusion(
            arguments.fusion,
            feature_dim=self.feature_dim,
            num_tokens=self.num_tokens,
            width=self.feature_dim,
        )
        width = self.feature_dim if self.fusion is None else self.fusion.width
        self.mlp_head = build_head(width, arguments.head, num_classes)

    def classify(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Maps features (B, T, F) or (B, T, M, F) to logits (B, K), see :meth:`FrameModel.classify`.

        Positions are checked and have no influence.
        """
        check_sequence(features, positions, mask, self.feature_shape)
        given = features
        if self.feature_input is not None:
            features = self.feature_input(self.feature_input.prepare(features, mask))
        features = features.to(self.mlp_head[0].weight.dtype)
        # Masked features may be NaN, which a product with 0 would keep.
        fused = features if self.fusion is None else self.fusion(zero_masked(features, mask))  # (B, T, D)
        if mask is None:
            mean = fused.mean(dim=1)
        else:
            mean = zero_masked(fused, mask).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        if not self.training:
            check_state(mean, given, mask, positions)
        return self.mlp_head(mean)


def _check_ignores_order(arguments: FusedModelArguments) -> None:
    if arguments.fusion.kind == "sequence" and token_grid(arguments.backbone).num_tokens > 1:
        raise ModelError(
            "fusion.kind = 'sequence': must be concat or attend for FrameAverage, which has no encoder"
        )
    off = (("input", "differences", False), ("head", "pooling", "cls"), ("head", "skip", False))
    for group, field, value in off:
        if (given := getattr(getattr(arguments, group), field)) != value:
            raise ModelError(
                f"{group}.{field} = {given!r}: must be {value!r} for FrameAverage, which ignores the order "
                "of the frames"
            )
