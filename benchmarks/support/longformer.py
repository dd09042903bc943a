"""Baselines for the temporal encoder: Hugging Face's Longformer, and a float64 reference for long sequences.

Shapes: B clips, T frames, F width of a feature, D width.
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
    """``LongformerModel`` with the weights of a :class:`TemporalEncoder`, called as in the original VTN."""

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
        self.projection = copy.deepcopy(encoder.feature_projection)

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
        """Sets the dropout probability of attention weights in all layers."""
        for layer in self.longformer.encoder.layer:
            layer.attention.self.dropout = probability

    def gradients(self) -> Iterator[tuple[str, Tensor]]:
        """Yields the parameters' names in the encoder and their gradients."""
        for name, parameter in self.longformer.named_parameters():
            if parameter.grad is not None and "word_embeddings" not in name:
                yield name, parameter.grad


@torch.no_grad()
def chunked_reference(encoder: TemporalEncoder, features: Tensor, cls: Tensor, chunk: int = 1024) -> Tensor:
    """Returns the final [CLS] (1, D) in float64, for sequences whose T×T matrices do not fit in memory.

    The sequence is split into chunks with margins of half a window. :func:`reference_attention` on a chunk
    with its margins and [CLS] is exact for the frames of the chunk. [CLS] attends to all tokens at once, with
    the keys and values of all of them.
    """
    encoder = copy.deepcopy(encoder).double().eval()
    tokens = encoder.embed(features.double(), cls.double(), None, None)
    for index, layer in enumerate(encoder.layers):
        context = _reference_cls(layer, tokens, chunk)
        state = layer._feed_forward(tokens[:, 0], context)
        if index + 1 == len(encoder.layers):
            return state
        after, half = torch.empty_like(tokens), layer.half_window
        for start in range(1, tokens.shape[1], chunk):
            low, high = max(1, start - half), min(start + chunk + half, tokens.shape[1])
            # [CLS] is token 0 of the span. Its distance to the frames does not matter, since it is always
            # in the window.
            span = torch.cat([tokens[:, :1], tokens[:, low:high]], dim=1)
            real = span.new_ones(1, span.shape[1], dtype=torch.bool)
            stop = min(start + chunk, tokens.shape[1])
            frames = slice(1 + start - low, 1 + stop - low)
            contexts = reference_attention(span, layer.attention["self"], layer.num_heads, half, real)
            after[:, start:stop] = layer._feed_forward(tokens[:, start:stop], contexts[:, frames])
        after[:, 0] = state
        tokens = after
    raise AssertionError("unreachable: an encoder has at least one layer")


def _reference_cls(layer: EncoderLayer, tokens: Tensor, chunk: int) -> Tensor:
    """Returns the context of [CLS] (1, D), computed with the keys and values of all tokens (1, 1 + T, D)."""
    projections, heads = layer.attention["self"], layer.num_heads

    def project(name: str) -> Tensor:
        chunks = [projections[name](rows) for rows in tokens.split(chunk, dim=1)]
        return torch.cat(chunks, dim=1).unflatten(-1, (heads, -1))  # (1, 1 + T, N, E)

    query = projections["query_global"](tokens[:, 0]).unflatten(-1, (heads, -1))
    scores = torch.einsum("bne,bjne->bnj", query, project("key_global")) / query.shape[-1] ** 0.5
    return torch.einsum("bnj,bjne->bne", scores.softmax(-1), project("value_global")).flatten(1)
