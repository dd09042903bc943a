"""The matrix products of the temporal encoder alone: a lower limit of its time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from slowfast.models.kernels.packed_linear import Product
from vtn.encoder.encoder_layer import CHUNK, EncoderLayer
from vtn.encoder.temporal_encoder import TemporalEncoder


def _layer_linears(layer: EncoderLayer) -> list[list[nn.Linear]]:
    """Returns for each of a layer's matrix products over frames the linear layers that it consists of."""
    attention = layer.attention["self"]
    return [
        [attention["query"], attention["key"], attention["value"]],
        [layer.attention["output"]["dense"]],
        [layer.intermediate["dense"]],
        [layer.output["dense"]],
    ]


def inference_products(
    encoder: TemporalEncoder, length: int, dtype: torch.dtype, device: str
) -> Callable[[], None]:
    """Returns a function that computes only the products of the encoder, a lower limit of its time.

    These are the linear layers for frames in all layers but the last, and the linear layers for [CLS].
    """
    layers = [[Product(linears, dtype) for linears in _layer_linears(layer)] for layer in encoder.layers[:-1]]
    rows = min(length, CHUNK)
    sizes = [linears[0].in_features for linears in _layer_linears(encoder.layers[0])]
    frames = [torch.randn(rows, size, device=device).to(dtype) for size in sizes]
    cls = [torch.randn(1, size, device=device) for size in sizes]

    def run() -> None:
        for layer in encoder.layers:
            for name in ("query_global", "key_global", "value_global"):
                layer.attention["self"][name](cls[0])
        for linears, x in zip(_layer_linears(encoder.layers[-1])[1:], cls[1:], strict=True):
            linears[0](x)
        for products in layers:
            for start in range(0, length, rows):
                for product, x in zip(products, frames, strict=True):
                    product(x[: min(rows, length - start)])

    return run


def training_products(encoder: TemporalEncoder, tokens: int, device: str) -> Callable[[], None]:
    """Returns a function that computes the products of frames and their two products in the backward pass."""
    pairs = []
    for linears in _layer_linears(encoder.layers[0]):
        wide, narrow = len(linears) * linears[0].out_features, linears[0].in_features
        pairs.append((torch.randn(tokens, narrow, device=device), torch.randn(wide, narrow, device=device)))

    def run() -> None:
        for _ in encoder.layers[:-1]:
            for x, weight in pairs:
                y = x @ weight.T
                _, _ = y @ weight, y.T @ x

    return run
