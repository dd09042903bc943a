"""VTN, the Video Transformer Network of Neimark et al. (2021): a 2D backbone looks at each frame, a
Longformer over the frames gathers them in [CLS], a small head classifies it.

B clips, T frames, H W pixels, F width of a feature, D width of the encoder, N heads, L layers, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from slowfast.errors import ModelError
from slowfast.models.build import MODEL_REGISTRY
from vtn.config import attention_windows
from vtn.encoder.input_checks import check_sequence, check_state
from vtn.encoder.longformer import start_from_longformer
from vtn.encoder.temporal_encoder import TemporalEncoder
from vtn.frame_model import FrameModel, backbone_options, build_head
from vtn.hub import HubModel


@MODEL_REGISTRY.register()
class VTN(HubModel, FrameModel):
    """The three modules of the paper's section 3. Without arguments it is the paper's ViT-B.

    Every method takes ``positions`` (B, T) of an integer type, None meaning 0 … T − 1, and ``mask`` (B, T)
    bool, True where a frame is real, None meaning all; masked frames have no influence on anything.

    Args:
        backbone, num_classes, pretrained, backbone_checkpoint, pooling, frozen, frozen_blocks,
            learning_norms, frozen_dtype, lora, chunk_frames, act_checkpoint, drop_rate, drop_path_rate,
            backbone_args: see :class:`vtn.frame_model.FrameModel`.
        hidden_dim, num_layers, num_heads, intermediate_size, attention_window, position,
            max_position_embeddings, hidden_dropout, attention_dropout: see
            :class:`vtn.encoder.temporal_encoder.TemporalEncoder`.
        position_rate: None where positions are frame indices of the source video; else positions are
            ``round(seconds × position_rate)``.
        encoder_checkpoint: start from this Longformer, see :func:`vtn.encoder.longformer.start_from_longformer`.
        mlp_dim, dropout_rate: width of the head's hidden layer, and the head's dropout.

    Raises:
        ModelError: where the model cannot be built as asked.
    """

    def __init__(
        self,
        backbone: str | nn.Module = "vit_base_patch16_224",
        num_classes: int = 400,
        *,
        pretrained: bool = True,
        backbone_checkpoint: str = "",
        pooling: str = "",
        frozen: bool = False,
        frozen_blocks: int = 0,
        learning_norms: bool = False,
        frozen_dtype: str = "",
        lora: Mapping[str, Any] | None = None,
        chunk_frames: int = 0,
        act_checkpoint: bool = False,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        backbone_args: Mapping[str, Any] | None = None,
        hidden_dim: int = 768,
        num_layers: int = 3,
        num_heads: int = 12,
        intermediate_size: int = 3072,
        attention_window: int | Sequence[int] = 18,
        position: str = "learned",
        max_position_embeddings: int = 288,
        position_rate: float | None = None,
        encoder_checkpoint: str = "",
        hidden_dropout: float = 0.1,
        attention_dropout: float = 0.1,
        mlp_dim: int = 768,
        dropout_rate: float = 0.5,
    ) -> None:
        super().__init__(
            backbone,
            num_classes,
            pretrained=pretrained,
            backbone_checkpoint=backbone_checkpoint,
            pooling=pooling,
            frozen=frozen,
            frozen_blocks=frozen_blocks,
            learning_norms=learning_norms,
            frozen_dtype=frozen_dtype,
            lora=lora,
            chunk_frames=chunk_frames,
            act_checkpoint=act_checkpoint,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            backbone_args=backbone_args,
        )
        if position_rate is not None and position_rate <= 0:
            raise ModelError(
                f"position_rate = {position_rate}: is positions a second; give more than 0, or None"
            )
        self.position_rate = position_rate
        self.num_layers = num_layers
        self.cls_token = nn.Parameter(torch.randn(1, 1, hidden_dim))
        self.temporal_encoder = TemporalEncoder(
            feature_dim=self.feature_dim,
            hidden_dim=hidden_dim,
            num_layers=num_layers,
            num_heads=num_heads,
            intermediate_size=intermediate_size,
            attention_window=attention_window,
            position=position,
            max_position_embeddings=max_position_embeddings,
            hidden_dropout=hidden_dropout,
            attention_dropout=attention_dropout,
        )
        if encoder_checkpoint:
            start_from_longformer(self.temporal_encoder, encoder_checkpoint)
        self.mlp_head = build_head(hidden_dim, mlp_dim, num_classes, dropout_rate)

    @classmethod
    def from_config(cls, cfg: Any, *, fetch_weights: bool = True) -> Self:
        """Builds the model that the sections ``MODEL`` and ``VTN`` of a configuration describe."""
        encoder = cfg.VTN.LONGFORMER
        return cls(
            **backbone_options(cfg, fetch_weights),
            hidden_dim=encoder.HIDDEN_DIM,
            num_layers=encoder.NUM_HIDDEN_LAYERS,
            num_heads=encoder.NUM_ATTENTION_HEADS,
            intermediate_size=encoder.INTERMEDIATE_SIZE,
            attention_window=attention_windows(cfg),
            position=encoder.POSITION,
            max_position_embeddings=encoder.MAX_POSITION_EMBEDDINGS,
            position_rate=encoder.POSITION_RATE if encoder.POSITION_UNIT == "second" else None,
            encoder_checkpoint=encoder.CHECKPOINT if fetch_weights else "",
            hidden_dropout=encoder.HIDDEN_DROPOUT_PROB,
            attention_dropout=encoder.ATTENTION_PROBS_DROPOUT_PROB,
            mlp_dim=cfg.VTN.HEAD.MLP_DIM,
            dropout_rate=cfg.MODEL.DROPOUT_RATE,
        )

    def forward(self, frames: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Maps normalised float frames (B, 3, T, H, W) to logits (B, K)."""
        return self.classify(self.encode_frames(frames, mask), positions, mask)

    def classify(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Maps features (B, T, F) to logits (B, K)."""
        return self.mlp_head(self.encode_video(features, positions, mask))

    def encode_video(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Maps features (B, T, F) of any float type to the final state of [CLS], (B, D).

        Raises:
            InputError: for what does not fit together, clips without a frame, and in evaluation mode features
                that are not finite; in training they come out as they are.
        """
        check_sequence(features, positions, mask, self.feature_dim)
        state = self.temporal_encoder(features, self.cls_token, positions, mask)
        if not self.training:
            check_state(state, features, mask)
        return state

    def shard_units(self) -> list[nn.Module]:
        """As :meth:`FrameModel.shard_units`, with the encoder layers; the last is not called as a module."""
        return [*super().shard_units(), *self.temporal_encoder.layers[:-1]]

    def frame_attention(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """The attention weights (L, B, N, T) that [CLS] gives each frame in each layer.

        They and the weight that [CLS] gives itself, which is left out, sum to 1; masked frames have 0.
        """
        check_sequence(features, positions, mask, self.feature_dim)
        return self.temporal_encoder.frame_attention(features, self.cls_token, positions, mask)

    def prepare_inference(self, dtype: torch.dtype | None = None) -> Self:
        """As :meth:`FrameModel.prepare_inference`; the encoder also gets packed copies of its weights.

        Moving the model drops the copies too. Weights changed in place do not show in them.
        """
        super().prepare_inference(dtype)
        self.temporal_encoder.pack(dtype or self.cls_token.dtype)
        return self

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that take no weight decay whatever their shape: tokens and position tables."""
        embeddings = "temporal_encoder.embeddings"
        own = {
            "cls_token",
            f"{embeddings}.position_embeddings.weight",
            f"{embeddings}.token_type_embeddings.weight",
        }
        return (own | super().no_weight_decay()) & {name for name, _ in self.named_parameters()}
