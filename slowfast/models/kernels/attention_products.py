"""Attention as plain matrix products, for training in bfloat16 on a processor.

The backward pass of torch's own kernel does not use a processor's matrix instructions for bfloat16. Products
do: forward and backward of 197 tokens take half of the time with AVX-512 and AMX, and 0.5 to 0.9 of it with
AVX-512 and bfloat16 alone. In float16 they would take 2.3 times as long there.

Scores are rounded to 16 bits before the softmax, as in any attention of single operations under autocast;
torch's kernel keeps them in float32. With scores of standard deviation 1, 6 and 12, gradients in bfloat16
differ by 0.5, 1.7 and 2.9 % of their norm from the exact ones, those of torch's kernel by 0.3, 0.5 and 0.6 %.

B images or clips, N heads, Q queries, S keys, E width of a head.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from slowfast.distributed.device import is_cpu

MAX_TOKENS = 640
"""Number of keys up to which products are faster; beyond, the scores no longer fit into the caches."""

_SCORES_AT_ONCE = 4 << 20
"""Scores of a part of the batch that the backward pass computes at once, at least those of one image."""

_LOCK = threading.Lock()
# The function of torch, once per context that is open in any thread.
_originals: list[Callable[..., Tensor]] = []


def products_are_faster(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Returns whether products are the faster way for query (B, N, Q, E), key and value (B, N, S, E).

    Inputs that autocast would cast to another dtype are left to torch.
    """
    return (
        is_cpu(query.device)
        and is_cpu(key.device)
        and is_cpu(value.device)
        and query.dtype == key.dtype == value.dtype == torch.bfloat16
        and (not torch.is_autocast_enabled("cpu") or torch.get_autocast_dtype("cpu") == torch.bfloat16)
        and torch.is_grad_enabled()
        and key.shape[-2] <= MAX_TOKENS
    )


def attend_by_products(
    query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """Returns ``dropout(softmax(Q Kᵀ / √E)) V`` (Vaswani et al. 2017, equation 1).

    The weights are kept for the backward pass.

    Args:
        query: (B, N, Q, E).
        key, value: (B, N, S, E).
        allowed: bool, broadcast to (B, N, Q, S), True where a query attends to a key; at least one per query.
        dropout: probability with which a weight is dropped.

    Returns:
        (B, N, Q, E) in the dtype of ``value``.
    """
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf"))
    weights = scores.softmax(-1).to(value.dtype)
    return (F.dropout(weights, dropout) if dropout else weights) @ value


@contextlib.contextmanager
def attention_by_products() -> Iterator[None]:
    """Lets ``F.scaled_dot_product_attention`` compute by products where they are faster, for any network.

    Calls with a mask, dropout or other options, and those without gradients, stay as they are. The forward
    pass is that of torch, and keeps nothing more for the backward pass, which computes the weights of some
    images at a time again; where the call is compiled, the compiler decides both. Second derivatives are not
    supported.

    The context must also surround the backward pass, in which activation checkpointing calls the forward pass
    again. Meanwhile the function is replaced in all threads.
    """
    with _LOCK:
        _originals.append(_originals[0] if _originals else F.scaled_dot_product_attention)
        F.scaled_dot_product_attention = _with_products(_originals[0])
    try:
        yield
    finally:
        with _LOCK:
            original = _originals.pop()
            if not _originals:
                F.scaled_dot_product_attention = original


@functools.cache  # torch.compile would compile a network again for another function
def _with_products(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def scaled_dot_product_attention(*args: Any, **kwargs: Any) -> Tensor:
        plain = _plain_inputs(*args, **kwargs)
        if plain is None or not products_are_faster(*plain):
            return original(*args, **kwargs)
        if torch.compiler.is_compiling():  # the compiler decides itself what it keeps for the backward pass
            return attend_by_products(*plain)
        return _Products.apply(original, *plain)

    return scaled_dot_product_attention


def _plain_inputs(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Returns query, key and value of a call without further options; else None."""
    standard = scale is None or scale == query.shape[-1] ** -0.5
    fits = query.ndim == 4 and query.shape[:2] == key.shape[:2] == value.shape[:2]
    if attn_mask is None and dropout_p == 0 and not is_causal and standard and not enable_gqa and fits:
        return query, key, value
    return None


class _Products(torch.autograd.Function):
    """Attention whose weights are computed again in the backward pass.

    With the weights P = softmax(S), S = Q Kᵀ / √E and the gradient G of the result P V:
    dV = Pᵀ G, dP = G Vᵀ, dS = P ∘ (dP − Σ P ∘ dP), dQ = dS K / √E, dK = dSᵀ Q / √E.
    """

    @staticmethod
    def forward(ctx: Any, attend: Callable[..., Tensor], query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(query, key, value)
        return attend(query, key, value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        inputs = ctx.saved_tensors
        gradients = tuple(torch.empty_like(tensor) for tensor in inputs)
        scale = inputs[0].shape[-1] ** -0.5
        for part in _parts(inputs[0], inputs[1]):
            # Contiguous once: two products use each of them, and each would copy it.
            query, key, value, of_result = (tensor[part].contiguous() for tensor in (*inputs, gradient))
            query = query * scale
            weights = (query @ key.transpose(-1, -2)).softmax(-1)
            of_weights = of_result @ value.transpose(-1, -2)
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            torch.mul(of_scores @ key, scale, out=gradients[0][part])
            gradients[1][part] = of_scores.transpose(-1, -2) @ query
            gradients[2][part] = weights.transpose(-1, -2) @ of_result
        return None, *gradients


def _parts(query: Tensor, key: Tensor) -> Iterator[slice]:
    """Yields slices of the batch whose scores, Q · S per head, are few enough for the caches."""
    scores = query.shape[1:3].numel() * key.shape[2]
    step = max(1, _SCORES_AT_ONCE // max(1, scores))
    for first in range(0, query.shape[0], step):
        yield slice(first, first + step)
