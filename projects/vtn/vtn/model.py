"""VTN, the Video Transformer Network of Neimark et al. (2021): a 2D backbone encodes each frame, a Longformer
collects the frames' features in [CLS], and a small head classifies its final state.

B clips, T frames, H W pixels, M tokens of a frame, F width of a feature, D width of the encoder, N heads,
L layers, K classes. Features are (B, T, M, F), and (B, T, F) for M = 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, Unpack

import torch
from torch import Tensor, nn

from slowfast.features.temporal_statistics import masked_mean_and_std, zero_masked
from slowfast.models.build import MODEL_REGISTRY
from vtn.arguments.backbone import BackboneConfig
from vtn.arguments.flat_fields import VTNFields
from vtn.arguments.groups import EncoderConfig, FusionConfig, HeadConfig, InputConfig
from vtn.arguments.model_arguments import VTNArguments
from vtn.encoder.fusion import AttendTokens, build_fusion
from vtn.encoder.input_checks import check_sequence, check_state
from vtn.encoder.longformer import adapt_positions, locate_longformer, start_from_longformer
from vtn.encoder.rollout import attention_rollout
from vtn.encoder.temporal_encoder import TemporalEncoder
from vtn.frame_model import FrameModel, build_head
from vtn.head.diagnosis import attention_evenness, spread_between_clips
from vtn.head.feature_input import PreparesFeatures, build_feature_input
from vtn.head.statistics_skip import StatisticsSkip

_POSITIONS = "temporal_encoder.embeddings.position_embeddings.weight"


@MODEL_REGISTRY.register()
class VTN(PreparesFeatures, FrameModel):
    """The network of the paper's section 3; ``VTN()`` is the ViT-B variant with ImageNet weights.

    Every method takes ``positions`` (B, T) of an integer dtype, None meaning 0 … T − 1, and ``mask`` (B, T)
    bool, True where a frame is real, None meaning all. Masked frames have no influence on any result.

    Args:
        backbone: the image backbone: its name, a network, or all its settings as a :class:`BackboneConfig`.
        num_classes: number K of logits, 1 or more; by default the 400 of Kinetics.
        encoder: settings of the temporal encoder, by default those of the paper.
        head: settings of the classifier, by default those of the paper.
        fusion: the way of several tokens per frame into the encoder; for one token only its ``dim`` matters,
            the width of a bottleneck.
        input: preparation of the features for the encoder; by default they are used as they are.
        fields: single fields of the groups by flat names, such as ``pretrained=False`` or ``num_layers=1``;
            see ``vtn.arguments.flat_fields.VTNFields``. A field given here replaces that of the group.
            The groups may also be mappings of their fields, as in ``config.json`` of a published folder.

    Attributes:
        arguments: all groups as the model was built from them.
        cls_token, temporal_encoder, mlp_head: the modules after the backbone.
        feature_input: prepares features for the encoder; None where they are used as they are.
        statistics_skip: adds logits of the features' statistics; None without ``head.skip``.
        class_names: names of the classes in their order, where the weights came with them; else empty.

    Raises:
        ModelError: for unknown arguments, values out of range, and parts that do not fit together.
        CheckpointError: for weights of backbone or encoder that are damaged or do not fit.

    >>> import torch
    >>> from vtn import VTN, BackboneConfig, EncoderConfig
    >>> model = VTN(
    ...     BackboneConfig("shallow_conv", pretrained=False),
    ...     num_classes=12,
    ...     encoder=EncoderConfig(hidden_dim=32, num_layers=2, num_heads=4, intermediate_size=64),
    ... )
    >>> frames = torch.zeros(1, 3, 8, 64, 64)  # one clip of 8 normalised frames of 64 × 64 pixels
    >>> model.eval()(frames).shape
    torch.Size([1, 12])
    """

    arguments_type = VTNArguments
    arguments: VTNArguments

    def __init__(
        self,
        backbone: str | nn.Module | BackboneConfig | Mapping[str, Any] = "vit_base_patch16_224",
        num_classes: int = 400,
        *,
        encoder: EncoderConfig | Mapping[str, Any] | None = None,
        head: HeadConfig | Mapping[str, Any] | None = None,
        fusion: str | FusionConfig | Mapping[str, Any] | None = None,
        input: InputConfig | Mapping[str, Any] | None = None,
        **fields: Unpack[VTNFields],
    ) -> None:
        groups = {"backbone": backbone, "encoder": encoder, "head": head, "fusion": fusion, "input": input}
        arguments = self.arguments_type().changed({**groups, "num_classes": num_classes, **fields})
        arguments.encoder.check_sizes()
        if arguments.encoder.checkpoint:
            locate_longformer(arguments.encoder.checkpoint)
        super().__init__(arguments)
        self.position_rate = arguments.encoder.position_rate
        self.num_layers = arguments.encoder.num_layers
        # The order of these three decides which random numbers initialise which parameters.
        self.cls_token = nn.Parameter(torch.randn(1, 1, arguments.encoder.hidden_dim))
        self.feature_input = build_feature_input(self.feature_dim, arguments.input)
        self.temporal_encoder = self._build_encoder(arguments)
        self.mlp_head = build_head(self.temporal_encoder.state_dim, arguments.head, arguments.num_classes)
        self.statistics_skip: StatisticsSkip | None = None
        if arguments.head.skip:
            self.statistics_skip = StatisticsSkip(
                self.feature_dim, arguments.num_classes, takes_zeros=self.feature_input is not None
            )

    def _build_encoder(self, arguments: VTNArguments) -> TemporalEncoder:
        """Builds the temporal encoder for the features that ``feature_input`` returns."""
        config = arguments.encoder
        width = self.feature_dim if self.feature_input is None else self.feature_input.width
        in_sequence = arguments.fusion.kind == "sequence"
        encoder = TemporalEncoder(
            width,
            config,
            build_fusion(
                arguments.fusion, feature_dim=width, num_tokens=self.num_tokens, width=config.hidden_dim
            ),
            tokens_per_frame=self.num_tokens if in_sequence else 1,
            pooling=arguments.head.pooling,
            takes_zeros=self.feature_input is not None,
        )
        if arguments.input.standardize:
            encoder.scale_projection()
        if config.checkpoint:
            start_from_longformer(encoder, config.checkpoint)
        return encoder

    def classify(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Maps features (B, T, F) or (B, T, M, F) to logits (B, K), see :meth:`FrameModel.classify`."""
        prepared = self._prepare(features, positions, mask)
        logits = self.mlp_head(self._encode_prepared(prepared, features, positions, mask))
        return logits if self.statistics_skip is None else logits + self.statistics_skip(prepared, mask)

    def encode_video(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Maps features (B, T, F) or (B, T, M, F) of any float dtype to the final state of [CLS], (B, D).

        With ``head.pooling`` ``cls+mean+std`` the result is (B, 3 · D).

        Raises:
            InputError: for shapes or dtypes that do not fit, for a clip without a real frame, and in
                evaluation mode for features that are not finite. In training mode these give a result that
                is not finite.
        """
        return self._encode_prepared(self._prepare(features, positions, mask), features, positions, mask)

    def _prepare(self, features: Tensor, positions: Tensor | None, mask: Tensor | None) -> Tensor:
        """Checks features and returns them standardised, or as they are where the model uses them so."""
        check_sequence(features, positions, mask, self.feature_shape)
        return features if self.feature_input is None else self.feature_input.prepare(features, mask)

    def _encode_prepared(
        self, prepared: Tensor, features: Tensor, positions: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """Returns the state of a clip; ``features`` are those given by the caller, for messages."""
        state = self.temporal_encoder(self._encoder_inputs(prepared, mask), self.cls_token, positions, mask)
        if not self.training:
            check_state(state, features, mask, positions)
        return state

    def _encoder_inputs(self, prepared: Tensor, mask: Tensor | None) -> Tensor:
        """Returns prepared features as the temporal encoder takes them."""
        return prepared if self.feature_input is None else self.feature_input(prepared, mask)

    def adapt_weight(self, name: str, weight: Tensor, shape: torch.Size) -> Tensor | str:
        """Returns a position table with another number of rows, if ``encoder.adapt_positions`` is True.

        Otherwise returns the remedy for an error message; an empty string for all other weights. See
        :class:`slowfast.models.capabilities.AdaptsWeights`.
        """
        if name != _POSITIONS or weight.ndim != 2 or weight.shape[1] != shape[1]:
            return ""
        if self.arguments.encoder.adapt_positions:
            return adapt_positions(weight, shape[0])
        return (
            "to cut or repeat the rows of its position table set VTN.LONGFORMER.ADAPT_POSITIONS True "
            "(in Python: adapt_positions=True)"
        )

    def shard_units(self) -> list[nn.Module]:
        """Returns the units of :meth:`FrameModel.shard_units` and the encoder layers except the last one.

        For [CLS] alone the last layer is computed by a method, so that it is never called as a module.
        """
        layers = self.temporal_encoder.layers
        called = layers[:-1] if self.temporal_encoder.pooling == "cls" else layers
        return [*super().shard_units(), *called]

    def frame_attention(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Returns the attention weights (L, B, N, T) that [CLS] gives each frame in each layer.

        Per layer, clip and head they sum to 1 together with the weight that [CLS] gives itself, which is not
        returned. Masked frames have weight 0. With ``fusion`` ``sequence`` the result is (L, B, N, T, M), the
        weight of each token.

        Raises:
            InputError: for shapes or dtypes that do not fit, and for a clip without a real frame.
        """
        inputs = self._encoder_inputs(self._prepare(features, positions, mask), mask)
        return self.temporal_encoder.frame_attention(inputs, self.cls_token, positions, mask)

    def attention_rollout(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Returns the attention of [CLS] to each frame, rolled out over all layers, (B, T).

        Per clip the weights sum to 1 together with that of [CLS] itself, which is not returned; see
        :func:`vtn.encoder.rollout.attention_rollout`.

        Raises:
            InputError: as :meth:`frame_attention`.
        """
        inputs = self._encoder_inputs(self._prepare(features, positions, mask), mask)
        return attention_rollout(self.temporal_encoder, inputs, self.cls_token, positions, mask)[:, 1:]

    def token_attention(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor | None:
        """Returns the attention to each token within its frame, (B, T, M), which sums to 1 per frame.

        With ``fusion`` ``sequence`` it is that of [CLS] in the last layer, the mean over heads; with
        ``attend`` that of the queries, the mean over them. None: the model does not attend to tokens.

        Raises:
            InputError: as :meth:`frame_attention`.
        """
        fusion = self.temporal_encoder.fusion
        if isinstance(fusion, AttendTokens):
            inputs = self._encoder_inputs(self._prepare(features, positions, mask), mask)
            return fusion.weights(inputs).mean(2)
        if self.temporal_encoder.tokens_per_frame == 1:
            return None
        weights = self.frame_attention(features, positions, mask)[-1].mean(1)  # (B, T, M)
        return weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)

    def describe_states(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> list[str]:
        """Returns how features, states of [CLS] and attention differ, in words.

        See :class:`slowfast.models.capabilities.DescribesStates`.
        """
        means = masked_mean_and_std(zero_masked(features, mask).float(), mask)[0].flatten(1)  # (B, M × F)
        states = self.encode_video(features, positions, mask)
        evenness = attention_evenness(self.frame_attention(features, positions, mask), mask)
        return [
            f"between clips the features differ by {spread_between_clips(means):.2g} of their norm, the "
            f"states of [CLS] by {spread_between_clips(states):.2g}",
            f"attention of [CLS] has {evenness:.3f} of the entropy of equal weights",
        ]

    def prepare_inference(self, dtype: torch.dtype | None = None) -> Self:
        """Does :meth:`FrameModel.prepare_inference` and packs copies of the encoder's weights.

        ``train()``, loading weights and moving the model remove the copies. Weights that are changed in place
        afterwards do not take effect.
        """
        super().prepare_inference(dtype)
        self.temporal_encoder.pack(dtype or self.cls_token.dtype)
        return self

    def no_weight_decay(self) -> set[str]:
        """Returns names of parameters without weight decay whatever their shape: tokens, position tables."""
        embeddings = "temporal_encoder.embeddings"
        own = {
            "cls_token",
            _POSITIONS,
            f"{embeddings}.token_type_embeddings.weight",
            "temporal_encoder.spatial_positions",
            "temporal_encoder.fusion.positions",
            "temporal_encoder.fusion.queries",
        }
        return (own | super().no_weight_decay()) & {name for name, _ in self.named_parameters()}
