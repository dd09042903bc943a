"""The attentive probe of frozen evaluations, the peer of quadratic cost beside VTN.

B clips, T frames, H W pixels, M tokens of a frame, F width of a token, D width of the probe, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Unpack

from torch import Tensor, nn

from slowfast.models.build import MODEL_REGISTRY
from vtn.arguments.backbone import BackboneConfig
from vtn.arguments.flat_fields import ProbeFields
from vtn.arguments.groups import ProbeConfig
from vtn.arguments.model_arguments import ProbeArguments
from vtn.backbones.tuning.freezing import autocast
from vtn.encoder.attentive_pooler import AttentivePooler
from vtn.encoder.input_checks import check_sequence, check_state
from vtn.frame_model import FrameModel


@MODEL_REGISTRY.register()
class AttentiveProbe(FrameModel):
    """A backbone, blocks of full attention over all tokens, a learned query, and a linear classifier.

    The probe of V-JEPA 2's frozen evaluation (Assran et al. 2025), for any backbone. Tokens are never fused:
    for M tokens per frame the sequence has T · M tokens. The published probes have no positions, since the
    tokens of a video encoder already carry their places; the features of an image backbone do not depend on
    time, and without positions the probe could not see the order of frames. So positions are added by
    default, see ``probe.position``.

    Every method takes ``positions`` (B, T) of an integer dtype, None meaning 0 … T − 1, and ``mask`` (B, T)
    bool, True where a frame is real, None meaning all. Masked frames have no influence on any result.

    Args:
        backbone: the image backbone: its name, a network, or all its settings as a :class:`BackboneConfig`.
        num_classes: number K of logits, 1 or more; by default the 400 of Kinetics.
        probe: settings of the blocks, by default those of the published probes, and positions.
        fields: single fields of the groups by flat names, as for :class:`vtn.VTN`; those of ``probe`` begin
            with ``probe_``.

    Raises:
        ModelError: for unknown arguments, values out of range, and parts that do not fit together.
        CheckpointError: for weights of the backbone that are damaged or do not fit.

    >>> import torch
    >>> from vtn import AttentiveProbe, BackboneConfig, ProbeConfig
    >>> backbone = BackboneConfig("shallow_conv", pretrained=False)
    >>> model = AttentiveProbe(backbone, num_classes=12, probe=ProbeConfig(hidden_dim=32, num_heads=4))
    >>> model.eval()(torch.zeros(1, 3, 8, 64, 64)).shape  # one clip of 8 normalised frames
    torch.Size([1, 12])
    """

    arguments_type = ProbeArguments
    arguments: ProbeArguments

    def __init__(
        self,
        backbone: str | nn.Module | BackboneConfig | Mapping[str, Any] = "vit_base_patch16_224",
        num_classes: int = 400,
        *,
        probe: ProbeConfig | Mapping[str, Any] | None = None,
        **fields: Unpack[ProbeFields],
    ) -> None:
        groups = {"backbone": backbone, "num_classes": num_classes, "probe": probe}
        arguments = self.arguments_type().changed({**groups, **fields})
        arguments.probe.check_sizes()
        super().__init__(arguments)
        self.position_rate = arguments.probe.position_rate
        self.num_layers = arguments.probe.num_blocks
        self.pooler = AttentivePooler(self.feature_dim, arguments.probe, self.num_tokens)
        self.classifier = nn.Linear(self.pooler.width, num_classes)
        nn.init.trunc_normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)

    def classify(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Maps features (B, T, F) or (B, T, M, F) to logits (B, K), see :meth:`FrameModel.classify`."""
        return self.classifier(self.encode_video(features, positions, mask))

    def encode_video(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Maps features (B, T, F) or (B, T, M, F) of any float dtype to the final state of the query, (B, D).

        Raises:
            InputError: as :meth:`vtn.VTN.encode_video`.
        """
        check_sequence(features, positions, mask, self.feature_shape)
        with autocast(features.device.type, self.inference_dtype):
            state = self.pooler(features, positions, mask)
        if self.inference_dtype is not None:
            state = state.to(self.classifier.weight.dtype)
        if not self.training:
            check_state(state, features, mask, positions)
        return state

    def shard_units(self) -> list[nn.Module]:
        """Returns the units of :meth:`FrameModel.shard_units` and the blocks."""
        return [*super().shard_units(), *self.pooler.blocks, self.pooler.query_block]

    def no_weight_decay(self) -> set[str]:
        """Returns names of parameters without weight decay whatever their shape: the query and positions."""
        own = {"pooler.query", "pooler.spatial_positions"}
        return (own | super().no_weight_decay()) & {name for name, _ in self.named_parameters()}

    def layer_id(self, name: str) -> tuple[int, int]:
        """Returns (depth of the parameter ``name`` from the input, number of depths).

        First come the backbone's depths, then one depth for projection and positions, one for each block,
        where the query belongs to the last one, and one for the classifier.
        """
        depth, total = super().layer_id(name)
        first_block = total - 1 - self.num_layers
        if block := re.match(r"pooler\.blocks\.(\d+)\.", name):
            return first_block + int(block[1]), total
        if name == "pooler.query" or name.startswith("pooler.query_block."):
            return total - 2, total
        return (total - 1 if name.startswith("classifier.") else depth), total
