"""One layer of the temporal encoder.

The modules have the names of Hugging Face's Longformer layer, so that state dicts are compatible. Each half
of the layer is a post-norm residual, ``LayerNorm(x + Sublayer(x))`` (Vaswani et al. 2017, section 3.1): first
attention, then the feed-forward network with exact GELU, ``W₂ GELU(W₁ x + b₁) + b₂`` (BERT, Devlin et al.
2019, section 3).

Token 0 is [CLS], token 1 + t is frame t; masks are True where a token is real.

Shapes: B clips, T frames, S tokens of a span, D width, N heads, E = D / N width of one head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast.models.kernels.packed_linear import Product
from slowfast.tracing import is_exporting
from vtn.arguments.groups import EncoderConfig
from vtn.encoder.attention import band_attention, band_weights, global_attention

CHUNK = 1024
"""Number of frames, over all clips of the batch, that a layer computes at once when gradients are disabled.
More are hardly faster, and need more memory: 54 KB per frame at width 768 in float32."""

NORM_EPSILON = 1e-12
FRAME_PROJECTIONS = ("query", "key", "value")
# Names of packed products.
QUERY_KEY_VALUE, ATTENTION_OUTPUT = "query_key_value", "attention.output"
INTERMEDIATE, OUTPUT = "intermediate", "output"


def takes_shortcuts() -> bool:
    """Returns whether layers compute in chunks, in place and with packed weights.

    They do without gradients, except while a graph is exported: it is for sequences of any length, and holds
    the parameters themselves.
    """
    return not (torch.is_grad_enabled() or is_exporting())


class EncoderLayer(nn.Module):
    """A post-norm transformer layer with band attention for frames and global attention for [CLS].

    Args:
        config: D, N, the width of the feed-forward network's hidden layer, and dropout.
        window: attention window in frames, even; a frame attends to half of it on each side.
        tokens_per_frame: M; tokens 1 + t·M … (t + 1)·M then belong to frame t and attend to the same tokens.
    """

    def __init__(self, config: EncoderConfig, window: int, tokens_per_frame: int) -> None:
        super().__init__()
        width, intermediate_size = config.hidden_dim, config.intermediate_size
        projections = (*FRAME_PROJECTIONS, *(f"{name}_global" for name in FRAME_PROJECTIONS))
        self.attention = nn.ModuleDict(
            {
                "self": nn.ModuleDict({name: nn.Linear(width, width) for name in projections}),
                "output": _dense_and_norm(width, width),
            }
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, intermediate_size)})
        self.output = _dense_and_norm(intermediate_size, width)
        self.num_heads = config.num_heads
        self.half_window = window // 2
        self.tokens_per_frame = tokens_per_frame
        self.dropout = config.hidden_dropout
        self.attention_dropout = config.attention_dropout
        self._packed: dict[str, Product] = {}
        self.register_load_state_dict_pre_hook(_unpack)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Maps tokens (B, 1 + T, D) to the next layer's tokens; may overwrite them if gradients are disabled.

        Args:
            mask: (B, 1 + T) bool, or None if all tokens are real.
        """
        context = self.cls_attention(tokens, mask)[0]
        if takes_shortcuts() and tokens.shape[1] > 1 + CHUNK:
            return self._advance_in_place(tokens, context, mask)
        query, key, value = self._query_key_value(tokens)
        frame_mask = None if mask is None else mask[:, 1:]
        frames = self._band_attention(
            query[:, 1:], key[:, 1:], value[:, 1:], key[:, 0], value[:, 0], key_mask=frame_mask
        )
        return self._feed_forward(tokens, torch.cat([context[:, None], frames], dim=1))

    def cls_state(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Returns [CLS] after this layer (B, D) from tokens (B, 1 + T, D); used for the last layer."""
        context = self.cls_attention(tokens, mask)[0]
        state = self._feed_forward(tokens[:, 0], context)
        projections = self.attention["self"]
        return join_graph(state, [p for name in FRAME_PROJECTIONS for p in projections[name].parameters()])

    def cls_attention(self, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the context of [CLS] (B, D) and its weights (B, N, 1 + T) from tokens (B, 1 + T, D)."""
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

    def frame_weights(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Returns the attention weights of frames from tokens (B, 1 + T, D), see :func:`band_weights`.

        The forward pass does not form them; they are for explanations, and need memory for T · (window + 2)
        weights per head.
        """
        query, key, _ = self._query_key_value(tokens)
        return band_weights(
            query[:, 1:],
            key[:, 1:],
            key[:, 0],
            half_window=self.half_window,
            key_mask=None if mask is None else mask[:, 1:],
            tokens_per_frame=self.tokens_per_frame,
        )

    def _advance_in_place(self, tokens: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Overwrites ``tokens`` (B, 1 + T, D) with the next layer's tokens, about ``CHUNK`` at a time.

        Memory beyond the tokens is independent of T. Chunks are computed from left to right, so that the
        right halo of a chunk still has the old values, and the left halo must be kept from the chunk before.

        Args:
            context: (B, D), the context of [CLS], computed before any token was overwritten.
        """
        # All chunks use the key and the value of [CLS] before this layer, so compute both once.
        _, cls_key, cls_value = self._query_key_value(tokens[:, :1])
        end = tokens.shape[1]
        # Chunks and halos are whole frames.
        chunk = max(1, CHUNK // self.tokens_per_frame) * self.tokens_per_frame
        halo = self.half_window * self.tokens_per_frame
        left = tokens[:, 1:1]  # left halo with its old values; empty for the first chunk
        for start in range(1, end, chunk):
            # The span is the chunk with its two halos; [first, last) are the indices of the chunk in it.
            stop = min(start + chunk, end)
            span = torch.cat([left, tokens[:, start : min(stop + halo, end)]], dim=1)
            first, last = left.shape[1], left.shape[1] + stop - start
            span_mask = None if mask is None else mask[:, start - first : start - first + span.shape[1]]

            # Attention of the chunk needs its own queries only, but the keys and values of the span.
            query, key, value = self._query_key_value(span)
            frames = self._band_attention(
                query[:, first:last], key, value, cls_key[:, 0], cls_value[:, 0],
                key_mask=span_mask, first=first,
            )  # fmt: skip
            # Save the last old values of the chunk as the next left halo, then overwrite the chunk.
            left = span[:, max(0, last - halo) : last].clone()
            del query, key, value, span  # frees memory: the feed-forward network has the peak
            tokens[:, start:stop] = self._feed_forward(tokens[:, start:stop], frames)
        # [CLS] comes last: its old value is the residual of its own update.
        tokens[:, 0] = self._feed_forward(tokens[:, 0], context)
        return tokens

    @property
    def _band_attention(self) -> Callable[..., Tensor]:
        """:func:`band_attention` with the window and the dropout of this layer."""
        return partial(
            band_attention,
            half_window=self.half_window,
            dropout=self.attention_dropout if self.training else 0.0,
            tokens_per_frame=self.tokens_per_frame,
        )

    def _query_key_value(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Returns query, key and value for band attention, each (B, S, N, E), from tokens (B, S, D)."""
        if self._packed and takes_shortcuts():
            return self._packed[QUERY_KEY_VALUE](tokens).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        projections = self.attention["self"]
        return tuple(
            projections[name](tokens).unflatten(-1, (self.num_heads, -1)) for name in FRAME_PROJECTIONS
        )

    def _feed_forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """Returns the tokens after this layer (..., D) from tokens before it and contexts, both (..., D)."""
        packed = self._packed if takes_shortcuts() else {}
        attention_output = packed.get(ATTENTION_OUTPUT, self.attention["output"]["dense"])
        output = packed.get(OUTPUT, self.output["dense"])
        # Attention sublayer: output projection, dropout, residual, LayerNorm.
        update = F.dropout(attention_output(context), self.dropout, self.training)
        tokens = self.attention["output"]["LayerNorm"](_add(update, tokens))
        # Feed-forward sublayer.
        update = output(packed[INTERMEDIATE](tokens) if packed else self._hidden(tokens))
        return self.output["LayerNorm"](_add(F.dropout(update, self.dropout, self.training), tokens))

    def _hidden(self, tokens: Tensor) -> Tensor:
        """Returns the hidden layer of the feed-forward network, the widest tensor of the layer.

        Without gradients GELU works in place, so that there is only one of it.
        """
        hidden = self.intermediate["dense"](tokens)
        return torch.ops.aten.gelu_(hidden) if takes_shortcuts() else F.gelu(hidden)

    def pack(self, dtype: torch.dtype) -> None:
        """Packs copies of the weights that are applied to frames, in the fastest layout for inference.

        The copies are used when gradients are disabled. ``train()``, loading weights and moving the layer to
        another device or dtype remove them.
        """
        projections = self.attention["self"]
        self._packed = {
            QUERY_KEY_VALUE: Product([projections[name] for name in FRAME_PROJECTIONS], dtype),
            ATTENTION_OUTPUT: Product([self.attention["output"]["dense"]], dtype),
            INTERMEDIATE: Product([self.intermediate["dense"]], dtype, gelu=True),
            OUTPUT: Product([self.output["dense"]], dtype),
        }

    def train(self, mode: bool = True) -> Self:
        if mode:
            self._packed = {}
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        self._packed = {}  # the packed copies do not move with the parameters
        return super()._apply(*args, **kwargs)


def _add(update: Tensor, tokens: Tensor) -> Tensor:
    """Returns ``tokens + update`` in the wider dtype; overwrites ``update`` if no gradient needs it."""
    if not takes_shortcuts() or update.dtype != tokens.dtype:
        return tokens + update
    return update.add_(tokens)


def _unpack(layer: nn.Module, *_: object) -> None:
    """Removes the packed copies before new weights are loaded."""
    layer._packed = {}  # type: ignore[assignment]


def _dense_and_norm(width_in: int, width: int) -> nn.ModuleDict:
    return nn.ModuleDict(
        {"dense": nn.Linear(width_in, width), "LayerNorm": nn.LayerNorm(width, eps=NORM_EPSILON)}
    )


class _JoinGraph(torch.autograd.Function):
    """The identity of the first argument, with zero gradients for the other arguments."""

    generate_vmap_rule = True  # for torch.func

    @staticmethod
    def forward(x: Tensor, *parameters: Tensor) -> Tensor:  # type: ignore[override]
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        return gradient, *(torch.zeros_like(parameter) for parameter in ctx.saved_tensors)


def join_graph(x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Returns ``x`` with ``parameters`` added to its autograd graph, although they have no influence on it.

    Gives these parameters an explicit zero gradient; DistributedDataParallel and weight decay do not accept a
    missing one.
    """
    needs_gradient = torch.is_grad_enabled() and not is_exporting()
    return _JoinGraph.apply(x, *parameters) if needs_gradient else x
