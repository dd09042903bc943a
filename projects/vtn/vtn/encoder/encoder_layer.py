"""One layer of the temporal encoder.

Its modules carry the names of Hugging Face's Longformer layer. B clips, T frames, S tokens of a span, D
width, N heads, E = D / N. Token 0 is [CLS], token 1 + t is frame t; masks are True where a token is real.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vtn.encoder.attention import band_attention, global_attention
from vtn.encoder.packed_linear import Product, pack

CHUNK = 512
"""Frames that pass a layer at a time where no gradient is wanted, over all clips of the batch: their
intermediates fit a CPU's cache."""

NORM_EPSILON = 1e-12
FRAME_PROJECTIONS = ("query", "key", "value")
QUERY_KEY_VALUE = "query_key_value"


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
        context = self.cls_attention(tokens, mask)[0]
        if not torch.is_grad_enabled() and tokens.shape[1] > 1 + CHUNK:
            return self._advance_in_place(tokens, context, mask)
        query, key, value = self._query_key_value(tokens)
        frame_mask = None if mask is None else mask[:, 1:]
        frames = self._band(query[:, 1:], key[:, 1:], value[:, 1:], key[:, 0], value[:, 0], frame_mask)
        return self._feed_forward(tokens, torch.cat([context[:, None], frames], dim=1))

    def cls_state(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """[CLS] after this layer (B, D), from tokens (B, 1 + T, D) before it; all that the last is for."""
        context = self.cls_attention(tokens, mask)[0]
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
        _, cls_key, cls_value = self._query_key_value(tokens[:, :1])
        end = tokens.shape[1]
        left = tokens[:, 1:1]  # The halo on the left, as it was before it was overwritten.
        for start in range(1, end, CHUNK):
            stop = min(start + CHUNK, end)
            span = torch.cat([left, tokens[:, start : min(stop + self.half_window, end)]], dim=1)
            first, last = left.shape[1], left.shape[1] + stop - start  # The chunk's place in the span.
            span_mask = None if mask is None else mask[:, start - first : start - first + span.shape[1]]
            query, key, value = self._query_key_value(span)
            frames = self._band(
                query[:, first:last], key, value, cls_key[:, 0], cls_value[:, 0], span_mask, first
            )
            left = span[:, max(0, last - self.half_window) : last].clone()
            del query, key, value, span  # The chunk's peak is in what follows.
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
        if self._packed and not torch.is_grad_enabled():
            return self._packed[QUERY_KEY_VALUE](tokens).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        projections = self.attention["self"]
        return tuple(
            projections[name](tokens).unflatten(-1, (self.num_heads, -1)) for name in FRAME_PROJECTIONS
        )

    def _feed_forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """What follows attention, for each token by itself: tokens (..., D), context (..., D) -> (..., D)."""
        packed = {} if torch.is_grad_enabled() else self._packed
        attention_output, intermediate, output = (
            packed.get(name, linear) for name, linear in self._feed_forward_linears().items()
        )
        update = F.dropout(attention_output(context), self.dropout, self.training)
        tokens = self.attention["output"]["LayerNorm"](_add(update, tokens))
        hidden = intermediate(tokens)
        # The widest tensor of the layer; where nobody needs its input again it is not made twice.
        hidden = F.gelu(hidden) if torch.is_grad_enabled() else torch.ops.aten.gelu_(hidden)
        update = output(hidden)
        return self.output["LayerNorm"](_add(F.dropout(update, self.dropout, self.training), tokens))

    def _feed_forward_linears(self) -> dict[str, nn.Linear]:
        return {
            "attention.output": self.attention["output"]["dense"],
            "intermediate": self.intermediate["dense"],
            "output": self.output["dense"],
        }

    def pack(self, dtype: torch.dtype) -> None:
        """Makes copies of the weights that frames meet, in the form that inference runs fastest with.

        They are used where none needs gradients; ``train()``, loading weights and moving the layer drop them.
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


def _add(update: Tensor, tokens: Tensor) -> Tensor:
    """Their sum in the wider type of the two; over ``update`` where that is nobody's any more."""
    if torch.is_grad_enabled() or update.dtype != tokens.dtype:
        return tokens + update
    return update.add_(tokens)


def _unpack(layer: nn.Module, *_: object) -> None:
    layer._packed = {}  # type: ignore[assignment]


def _dense_and_norm(width_in: int, width: int) -> nn.ModuleDict:
    return nn.ModuleDict(
        {"dense": nn.Linear(width_in, width), "LayerNorm": nn.LayerNorm(width, eps=NORM_EPSILON)}
    )


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
