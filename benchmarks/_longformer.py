"""What the temporal encoder is measured against: Hugging Face's Longformer, and plain float64.

T frames, F width of a feature, D width, N heads, E = D / N.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LongformerConfig, LongformerModel

from vtn.encoder.attention_reference import reference_attention
from vtn.encoder.encoder_layer import EncoderLayer
from vtn.encoder.temporal_encoder import TemporalEncoder


class HuggingFaceEncoder(nn.Module):
    """``LongformerModel`` with the weights of a :class:`TemporalEncoder`, called as the original calls it."""

    def __init__(self, encoder: TemporalEncoder) -> None:
        super().__init__()
        first = encoder.layers[0]
        table = encoder.embeddings.position_embeddings.weight
        self.rows, width = table.shape
        config = LongformerConfig(
            hidden_size=width,
            num_hidden_layers=len(encoder.layers),
            num_attention_heads=first.num_heads,
            intermediate_size=first.intermediate["dense"].out_features,
            attention_window=[2 * layer.half_window for layer in encoder.layers],
            max_position_embeddings=self.rows,
            pad_token_id=self.rows - 1,
            type_vocab_size=2,
            vocab_size=self.rows,
            layer_norm_eps=1e-12,
        )
        self.longformer = LongformerModel(config, add_pooling_layer=False).to(table.device)
        self.longformer.load_state_dict(encoder.state_dict(), strict=False)
        self.projection = copy.deepcopy(getattr(encoder, "feature_projection", nn.Identity()))

    def forward(self, features: Tensor, cls: Tensor) -> Tensor:
        """Maps features (B, T, F) and the [CLS] token (1, 1, D) to the final state of [CLS], (B, D)."""
        features = self.projection(features)
        B, T, _ = features.shape
        zeros = torch.zeros(B, 1 + T, dtype=torch.long, device=features.device)
        only_cls = zeros.index_fill(1, zeros.new_zeros(1), 1)
        frames = torch.arange(T, device=features.device) % (self.rows - 2)
        positions = F.pad(frames, (1, 0), value=self.rows - 2).expand(B, -1)
        output = self.longformer(
            inputs_embeds=torch.cat([cls.expand(B, -1, -1), features], dim=1),
            position_ids=positions,
            token_type_ids=only_cls,
            attention_mask=zeros + 1,
            global_attention_mask=only_cls,
        )
        return output.last_hidden_state[:, 0]

    def set_attention_dropout(self, probability: float) -> None:
        for layer in self.longformer.encoder.layer:
            layer.attention.self.dropout = probability

    def gradients(self) -> Iterator[tuple[str, Tensor]]:
        """Gradients by the encoder's names."""
        for name, parameter in self.longformer.named_parameters():
            if parameter.grad is not None and "word_embeddings" not in name:
                yield name, parameter.grad


@torch.no_grad()
def chunked_reference(encoder: TemporalEncoder, features: Tensor, cls: Tensor, chunk: int = 1024) -> Tensor:
    """The final [CLS] (1, D) by plain float64 arithmetic on pieces of a sequence that is too long for N×N.

    Frames of a piece see their neighbours within it and its margins, and [CLS], so that the dense reference
    on the piece is exact for them; [CLS] itself attends to all tokens through keys and values in full.
    """
    encoder = copy.deepcopy(encoder).double().eval()
    tokens = encoder.embed(features.double(), cls.double(), None, None)
    for index, layer in enumerate(encoder.layers):
        context = _plain_cls(layer, tokens, chunk)
        state = layer._feed_forward(tokens[:, 0], context)
        if index + 1 == len(encoder.layers):
            return state
        after, half = torch.empty_like(tokens), layer.half_window
        for start in range(1, tokens.shape[1], chunk):
            low, high = max(1, start - half), min(start + chunk + half, tokens.shape[1])
            piece = torch.cat([tokens[:, :1], tokens[:, low:high]], dim=1)
            real = torch.ones(1, piece.shape[1], dtype=torch.bool)
            stop = min(start + chunk, tokens.shape[1])
            frames = slice(1 + start - low, 1 + stop - low)
            seen = _plain_frames(layer, piece, half, real)[:, frames]
            after[:, start:stop] = layer._feed_forward(tokens[:, start:stop], seen)
        after[:, 0] = state
        tokens = after
    raise AssertionError("an encoder has layers")


def _plain_frames(layer: EncoderLayer, piece: Tensor, half: int, real: Tensor) -> Tensor:
    # Token 0 of the piece is [CLS] and stands next to its first frame only in the whole's first piece, which
    # makes no difference: [CLS] is seen anyway.
    return reference_attention(piece, layer.attention["self"], layer.num_heads, half, real)


def _plain_cls(layer: EncoderLayer, tokens: Tensor, chunk: int) -> Tensor:
    """What [CLS] gathers (1, D), with keys and values of all tokens."""
    projections, heads = layer.attention["self"], layer.num_heads
    query = projections["query_global"](tokens[:, 0]).unflatten(-1, (heads, -1))
    parts = tokens.split(chunk, dim=1)
    keys = torch.cat([projections["key_global"](part) for part in parts], dim=1).unflatten(-1, (heads, -1))
    weights = (torch.einsum("bne,bjne->bnj", query, keys) / query.shape[-1] ** 0.5).softmax(-1)
    del keys
    values = torch.cat([projections["value_global"](part) for part in parts], dim=1).unflatten(
        -1, (heads, -1)
    )
    return torch.einsum("bnj,bjne->bne", weights, values).flatten(1)
