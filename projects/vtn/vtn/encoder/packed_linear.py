"""Packed linear layers for inference: several layers as one product, weights in the layout of the CPU kernel,
and optionally in a smaller dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Product = Callable[[Tensor], Tensor]
"""Maps (..., D_in) to (..., D_out)."""

ONEDNN_BATCH = 512
"""Number of rows for which oneDNN optimizes the weight layout; inputs with other numbers of rows work too."""


def pack(linears: Sequence[nn.Linear], dtype: torch.dtype) -> Product:
    """Returns one product that computes the concatenated outputs of ``linears`` in ``dtype``; no gradients.

    The product has its own copy of the weights: later changes of ``linears`` have no effect on it.
    """
    with torch.no_grad():
        weight = torch.cat([linear.weight for linear in linears]).to(dtype)
        bias = torch.cat([linear.bias for linear in linears]).to(dtype)
    if _onednn_linear_works(weight):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, ONEDNN_BATCH)
        return lambda x: torch.ops.mkldnn._linear_pointwise(x.to(dtype), packed, bias, "none", [], "")
    return lambda x: F.linear(x.to(dtype), weight, bias)


def _onednn_linear_works(weight: Tensor) -> bool:
    """Returns whether oneDNN's linear layer with packed weights is available and computes correct results.

    It is faster than ``F.linear`` for float32 on a CPU. It is a private function of torch (its compiler calls
    it), so a small product is tested, and ``F.linear`` is used if the call or the result is wrong.
    """
    if (
        weight.device.type != "cpu"
        or weight.dtype != torch.float32
        or not torch.backends.mkldnn.is_available()
    ):
        return False
    try:
        x, w, b = torch.randn(3, 16), torch.randn(8, 16), torch.randn(8)
        packed = torch.ops.mkldnn._reorder_linear_weight(w, ONEDNN_BATCH)
        y = torch.ops.mkldnn._linear_pointwise(x, packed, b, "none", [], "")
        return torch.allclose(y, F.linear(x, w, b), atol=1e-4)
    except (AttributeError, RuntimeError, TypeError):
        return False
