"""The temporal encoder: a Longformer over frame features with [CLS] as its one global token.

The layers, their order and the names in the state dict are those of Hugging Face's ``LongformerModel`` as the
original VTN used it, so that weights pass between the three. The arithmetic is ours, :mod:`vtn.attention`:

* the last layer computes [CLS] only, since nothing else of it is read;
* without gradients a long sequence passes each layer in chunks of frames and in place, so that memory beyond
  the features and one hidden sequence stays the same at any length.

B clips, T frames, F width of a feature, D width, N heads, E = D / N, L layers. Token 0 is [CLS], token 1 + t
is frame t; masks are True where a token is real.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast.errors import ModelError
from vtn.attention import band_attention, global_attention
from vtn.packed import Product, pack
from vtn.positions import build_positions

CHUNK = 512
"""Frames that pass a layer at a time where no gradient is wanted, over all clips of the batch: their
intermediates fit a CPU's cache."""

NORM_EPSILON = 1e-12
FRAME_PROJECTIONS = ("query", "key", "value")
QUERY_KEY_VALUE = "query_key_value"


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


class EncoderLayer(nn.Module):
    """One post-norm transformer layer with band attention for frames and global attention for [CLS]."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        intermediate_size: int,
        window: int,
        dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        projections = (*FRAME_PROJECTIONS, *(f"{name}_global" for name in FRAME_PROJECTIONS))
        self.attention = nn.ModuleDict(
            {
                "self": nn.ModuleDict({name: nn.Linear(width, width) for name in projections}),
                "output": _dense_and_norm(width, width),
            }
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, intermediate_size)})
        self.output = _dense_and_norm(intermediate_size, width)
        self.num_heads = num_heads
        self.half_window = window // 2
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self._packed: dict[str, Product] = {}
        self.register_load_state_dict_pre_hook(_unpack)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Maps tokens (B, 1 + T, D) to the next layer's; without gradients it may overwrite them."""
        context, _ = self.cls_attention(tokens, mask)
        if not torch.is_grad_enabled() and tokens.shape[1] > 1 + CHUNK:
            return self._advance_in_place(tokens, context, mask)
        query, key, value = self._query_key_value(tokens)
        frames = self._band(
            query[:, 1:],
            key[:, 1:],
            value[:, 1:],
            key[:, 0],
            value[:, 0],
            None if mask is None else mask[:, 1:],
        )
        return self._feed_forward(tokens, torch.cat([context[:, None], frames], dim=1))

    def cls_state(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """[CLS] after this layer (B, D), from tokens (B, 1 + T, D) before it; all that the last is for."""
        context, _ = self.cls_attention(tokens, mask)
        state = self._feed_forward(tokens[:, 0], context)
        projections = self.attention["self"]
        return join_graph(state, [p for name in FRAME_PROJECTIONS for p in projections[name].parameters()])

    def cls_attention(self, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """What [CLS] gathers (B, D) from tokens (B, 1 + T, D), and its weights for them (B, N, 1 + T)."""
        projections = self.attention["self"]
        query = projections["query_global"](tokens[:, 0]).unflatten(-1, (self.num_heads, -1))
        value = projections["value_global"]
        context, weights = global_attention(
            query * query.shape[-1] ** -0.5,
            tokens,
            projections["key_global"].weight.unflatten(0, (self.num_heads, -1)),
            value.weight.unflatten(0, (self.num_heads, -1)),
            value.bias.view(self.num_heads, -1),
            token_mask=mask,
            dropout=self.attention_dropout if self.training else 0.0,
        )
        return join_graph(context, [projections["key_global"].bias]), weights

    def _advance_in_place(self, tokens: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Writes the next layer's tokens over ``tokens``, ``CHUNK`` frames at a time."""
        half = self.half_window
        _, cls_key, cls_value = self._query_key_value(tokens[:, :1])
        end = tokens.shape[1]
        left = tokens[:, 1:1]  # The halo on the left, as it was before it was overwritten.
        for start in range(1, end, CHUNK):
            stop = min(start + CHUNK, end)
            span = torch.cat([left, tokens[:, start : min(stop + half, end)]], dim=1)
            first, span_start = left.shape[1], start - left.shape[1]
            left = tokens[:, max(1, stop - half) : stop].clone()
            span_mask = None if mask is None else mask[:, span_start : span_start + span.shape[1]]
            query, key, value = self._query_key_value(span)
            query = query[:, first : first + stop - start]
            frames = self._band(query, key, value, cls_key[:, 0], cls_value[:, 0], span_mask, first)
            tokens[:, start:stop] = self._feed_forward(tokens[:, start:stop], frames)
        tokens[:, 0] = self._feed_forward(tokens[:, 0], context)
        return tokens

    def _band(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        cls_key: Tensor,
        cls_value: Tensor,
        mask: Tensor | None,
        first: int = 0,
    ) -> Tensor:
        dropout = self.attention_dropout if self.training else 0.0
        return band_attention(
            query,
            key,
            value,
            cls_key,
            cls_value,
            half_window=self.half_window,
            first=first,
            key_mask=mask,
            dropout=dropout,
        )

    def _query_key_value(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """(B, S, D) -> query, key and value of the frames' attention, each (B, S, N, E)."""
        if QUERY_KEY_VALUE in self._packed:
            return self._packed[QUERY_KEY_VALUE](tokens).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        projections = self.attention["self"]
        return tuple(
            projections[name](tokens).unflatten(-1, (self.num_heads, -1)) for name in FRAME_PROJECTIONS
        )

    def _feed_forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """What follows attention, for each token by itself: tokens (..., D), context (..., D) -> (..., D)."""
        attention_output, intermediate, output = (
            self._packed.get(name, linear) for name, linear in self._feed_forward_linears().items()
        )
        update = F.dropout(attention_output(context), self.dropout, self.training)
        tokens = self.attention["output"]["LayerNorm"](tokens + update)
        update = output(F.gelu(intermediate(tokens)))
        return self.output["LayerNorm"](tokens + F.dropout(update, self.dropout, self.training))

    def _feed_forward_linears(self) -> dict[str, nn.Linear]:
        return {
            "attention.output": self.attention["output"]["dense"],
            "intermediate": self.intermediate["dense"],
            "output": self.output["dense"],
        }

    def pack(self, dtype: torch.dtype) -> None:
        """Makes copies of the weights that frames meet, in the form that inference runs fastest with.

        ``train()``, loading weights and moving the layer drop them.
        """
        projections = self.attention["self"]
        self._packed = {name: pack([linear], dtype) for name, linear in self._feed_forward_linears().items()}
        self._packed[QUERY_KEY_VALUE] = pack([projections[name] for name in FRAME_PROJECTIONS], dtype)

    def train(self, mode: bool = True) -> Self:
        if mode:
            self._packed = {}
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        self._packed = {}  # They do not move with the parameters.
        return super()._apply(*args, **kwargs)


def _unpack(layer: nn.Module, *_: object) -> None:
    layer._packed = {}  # type: ignore[assignment]


class TemporalEncoder(nn.Module):
    """Frame features and a [CLS] token in, the final state of [CLS] out.

    Args:
        feature_dim: F; where it differs from ``hidden_dim`` a linear layer joins them.
        hidden_dim: D.
        num_layers, num_heads, intermediate_size: of the transformer.
        attention_window: even; a frame sees half of it on each side. One number, or one a layer.
        position: ``learned``, ``sinusoidal`` or ``none``, see :mod:`vtn.positions`.
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
        where = (
            torch.arange(start, stop, device=features.device)
            if positions is None
            else positions[:, start:stop]
        )
        return self.embeddings.frames(features, where)


def layer_windows(attention_window: int | Sequence[int], num_layers: int) -> list[int]:
    """Returns one window a layer; ``ModelError`` where they are odd, below 2, or not as many as layers."""
    windows = [attention_window] if isinstance(attention_window, int) else list(attention_window)
    if len(windows) == 1:
        windows = windows * num_layers
    if num_layers < 1 or len(windows) != num_layers:
        raise ModelError(
            f"attention_window = {attention_window}: does not fit num_layers = {num_layers}; give one for all "
            "layers, or one a layer"
        )
    if any(window < 2 or window % 2 for window in windows):
        raise ModelError(
            f"attention_window = {attention_window}: its two sides are equal; use even numbers from 2 on"
        )
    return windows


def with_cls(mask: Tensor | None) -> Tensor | None:
    """The mask of all tokens (B, 1 + T), of which [CLS] is always real, from that of the frames (B, T)."""
    return None if mask is None else F.pad(mask, (1, 0), value=True)


def _dense_and_norm(width_in: int, width: int) -> nn.ModuleDict:
    return nn.ModuleDict(
        {"dense": nn.Linear(width_in, width), "LayerNorm": nn.LayerNorm(width, eps=NORM_EPSILON)}
    )


def _initialize(module: nn.Module) -> None:
    """BERT's: N(0, 0.02) for weights and embeddings, zero for biases and the padding row."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()


class _JoinGraph(torch.autograd.Function):
    """The identity on its first argument; the others get zero gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(*parameters)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        return gradient, *(torch.zeros_like(parameter) for parameter in ctx.saved_tensors)


def join_graph(x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Returns ``x``, with ``parameters`` that cannot influence it put into its graph.

    Their gradient is then zero, which it is, instead of missing, over which DistributedDataParallel and
    weight decay would stumble.
    """
    return _JoinGraph.apply(x, *parameters) if torch.is_grad_enabled() else x
