"""The temporal encoder: a Longformer over frame features with [CLS] as its one global token.

The layers, their order and the names in the state dict are those of Hugging Face's ``LongformerModel`` as the
original VTN used it, so that weights pass between the three. The arithmetic is ours, :mod:`vtn.encoder.attention`:

* the last layer computes [CLS] only, since nothing else of it is read;
* without gradients a long sequence passes each layer in chunks of frames and in place, so that memory beyond
  the features and one hidden sequence stays the same at any length.

B clips, T frames, F width of a feature, D width, N heads, E = D / N, L layers. Token 0 is [CLS], token 1 + t
is frame t; masks are True where a token is real.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast.errors import ModelError
from vtn.encoder.encoder_layer import CHUNK, NORM_EPSILON, EncoderLayer
from vtn.encoder.positions import build_positions


class Embeddings(nn.Module):
    """Adds position and token type (1 for [CLS], 0 for frames), then normalises."""

    def __init__(self, width: int, position: str, max_position_embeddings: int, dropout: float) -> None:
        super().__init__()
        self.position_embeddings = build_positions(position, max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.dropout = nn.Dropout(dropout)
        # Other versions of the original's library store the row numbers of the table beside it.
        self.register_load_state_dict_pre_hook(_drop_position_ids)

    def frames(self, features: Tensor, positions: Tensor) -> Tensor:
        """Maps features (B, T, D) at positions (B, T) to frame tokens (B, T, D)."""
        where = self.position_embeddings.frames(positions)
        return self._finish(features + where, token_type=0)

    def cls(self, cls_token: Tensor) -> Tensor:
        """Maps the learned [CLS] token (B, 1, D) to the sequence's token 0 (B, 1, D)."""
        return self._finish(cls_token + self.position_embeddings.cls(), token_type=1)

    def _finish(self, x: Tensor, token_type: int) -> Tensor:
        weight = self.token_type_embeddings.weight[token_type]
        return self.dropout(self.LayerNorm((x + weight).to(weight.dtype)))


def _drop_position_ids(module: nn.Module, state_dict: dict, prefix: str, *_: object) -> None:
    state_dict.pop(prefix + "position_ids", None)


class TemporalEncoder(nn.Module):
    """Frame features and a [CLS] token in, the final state of [CLS] out.

    Args:
        feature_dim: F; where it differs from ``hidden_dim`` a linear layer joins them.
        hidden_dim: D.
        num_layers, num_heads, intermediate_size: of the transformer.
        attention_window: even; a frame sees half of it on each side. One number, or one a layer.
        position: ``learned``, ``sinusoidal`` or ``none``, see :mod:`vtn.encoder.positions`.
        max_position_embeddings: rows of the learned table.
        hidden_dropout, attention_dropout: probabilities in training.

    Raises:
        ModelError: for sizes that do not go together.
    """

    def __init__(
        self,
        feature_dim: int,
        hidden_dim: int,
        num_layers: int,
        num_heads: int,
        intermediate_size: int,
        attention_window: int | Sequence[int],
        position: str,
        max_position_embeddings: int,
        hidden_dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        if hidden_dim % num_heads:
            raise ModelError(f"num_heads = {num_heads}: does not divide hidden_dim = {hidden_dim}")
        windows = layer_windows(attention_window, num_layers)
        if feature_dim != hidden_dim:
            self.feature_projection = nn.Linear(feature_dim, hidden_dim)
        self.embeddings = Embeddings(hidden_dim, position, max_position_embeddings, hidden_dropout)
        layers = (
            EncoderLayer(hidden_dim, num_heads, intermediate_size, window, hidden_dropout, attention_dropout)
            for window in windows
        )
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})
        self.apply(_initialize)

    @property
    def layers(self) -> list[EncoderLayer]:
        return list(self.encoder["layer"])

    def forward(
        self, features: Tensor, cls_token: Tensor, positions: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """Maps features (B, T, F) at positions (B, T) to the final state of [CLS], (B, D).

        ``cls_token`` is (1, 1, D). None means positions 0 … T − 1, and a mask that is True everywhere.
        """
        B, T, _ = features.shape
        if torch.is_grad_enabled() or B * T <= CHUNK or B == 1:
            return self._final_state(features, cls_token, positions, mask)
        rows = max(1, CHUNK // T)
        states = [
            self._final_state(
                features[start : start + rows],
                cls_token,
                None if positions is None else positions[start : start + rows],
                None if mask is None else mask[start : start + rows],
            )
            for start in range(0, B, rows)
        ]
        return torch.cat(states)

    def _final_state(
        self, features: Tensor, cls_token: Tensor, positions: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        for layer, tokens in self.walk(features, cls_token, positions, mask):
            last, last_tokens = layer, tokens
        return last.cls_state(last_tokens, with_cls(mask))

    def pack(self, dtype: torch.dtype) -> None:
        """Prepares the layers for inference with products in ``dtype``, see :meth:`EncoderLayer.pack`."""
        for layer in self.layers[:-1]:
            layer.pack(dtype)
        # The last layer has one row a clip to compute, for which only a smaller type is faster.
        if dtype != self.embeddings.LayerNorm.weight.dtype:
            self.layers[-1].pack(dtype)

    def frame_attention(
        self, features: Tensor, cls_token: Tensor, positions: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """The weights (L, B, N, T) that [CLS] gives the frames in each layer; the rest up to 1 is its own."""
        weights = [
            layer.cls_attention(tokens, with_cls(mask))[1][..., 1:]
            for layer, tokens in self.walk(features, cls_token, positions, mask)
        ]
        return torch.stack(weights)

    def walk(
        self, features: Tensor, cls_token: Tensor, positions: Tensor | None, mask: Tensor | None
    ) -> Iterator[tuple[EncoderLayer, Tensor]]:
        """Yields each layer with the tokens (B, 1 + T, D) before it, which the next step may overwrite."""
        tokens = self.embed(features, cls_token, positions, mask)
        token_mask = with_cls(mask)
        for index, layer in enumerate(self.layers):
            if index > 0:
                tokens = self.layers[index - 1](tokens, token_mask)
            yield layer, tokens

    def embed(
        self, features: Tensor, cls_token: Tensor, positions: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """Maps features (B, T, F) of any float type to the first layer's tokens (B, 1 + T, D)."""
        B, T, _ = features.shape
        cls = self.embeddings.cls(cls_token).expand(B, -1, -1)
        if torch.is_grad_enabled() or T <= CHUNK:
            return torch.cat([cls, self._embed_frames(features, 0, T, positions, mask)], dim=1)
        tokens = cls.new_empty(B, 1 + T, cls.shape[-1])
        tokens[:, :1] = cls
        for start in range(0, T, CHUNK):
            stop = min(start + CHUNK, T)
            tokens[:, 1 + start : 1 + stop] = self._embed_frames(features, start, stop, positions, mask)
        return tokens

    def _embed_frames(
        self, features: Tensor, start: int, stop: int, positions: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        features = features[:, start:stop].to(self.embeddings.LayerNorm.weight)
        if mask is not None:  # A masked frame may hold anything, NaN too, and weight 0 does not undo a NaN.
            features = features.masked_fill(~mask[:, start:stop, None], 0)
        if hasattr(self, "feature_projection"):
            features = self.feature_projection(features)
        if positions is None:
            where = torch.arange(start, stop, device=features.device)
        else:
            where = positions[:, start:stop].long()
        return self.embeddings.frames(features, where)


def layer_windows(attention_window: int | Sequence[int], num_layers: int) -> list[int]:
    """Returns one window a layer; ``ModelError`` where they are odd, below 2, or not as many as layers."""
    windows = [attention_window] if isinstance(attention_window, int) else list(attention_window)
    if len(windows) == 1:
        windows = windows * num_layers
    if num_layers < 1 or len(windows) != num_layers:
        raise ModelError(
            f"attention_window = {attention_window}: does not fit num_layers = {num_layers}; give one "
            "window for all layers, or one a layer"
        )
    if any(window < 2 or window % 2 for window in windows):
        raise ModelError(
            f"attention_window = {attention_window}: use even numbers from 2 on, half for each side"
        )
    return windows


def with_cls(mask: Tensor | None) -> Tensor | None:
    """The mask of all tokens (B, 1 + T), of which [CLS] is always real, from that of the frames (B, T)."""
    return None if mask is None else F.pad(mask, (1, 0), value=True)


def _initialize(module: nn.Module) -> None:
    """BERT's: N(0, 0.02) for weights and embeddings, zero for biases and the padding row."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()
