"""Linear layers as inference wants them: one product for query, key and value, weights in the layout of the
kernel, and in a smaller type where asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Product = Callable[[Tensor], Tensor]
"""Maps (..., D_in) to (..., D_out)."""

ONEDNN_BATCH = 512
"""Rows for which oneDNN lays the weights out; other numbers of rows work too."""


def pack(linears: Sequence[nn.Linear], dtype: torch.dtype) -> Product:
    """Returns one product that gives the outputs of ``linears`` side by side, in ``dtype``, without gradient.

    It holds its own copy of the weights: later changes of the linears do not show.
    """
    with torch.no_grad():
        weight = torch.cat([linear.weight for linear in linears]).to(dtype)
        bias = torch.cat([linear.bias for linear in linears]).to(dtype)
    if _onednn_linear_works(weight):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, ONEDNN_BATCH)
        return lambda x: torch.ops.mkldnn._linear_pointwise(x.to(dtype), packed, bias, "none", [], "")
    return lambda x: F.linear(x.to(dtype), weight, bias)


def _onednn_linear_works(weight: Tensor) -> bool:
    """Whether oneDNN's linear layer with packed weights is there and right.

    It is the faster one for float32 on a CPU. torch keeps it private (its compiler uses it), so its name, its
    arguments and its result are tried out, and any failure means that plain ``F.linear`` is used.
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
