"""The norm of all gradients together, and clipping; of whole gradients and of those spread over the ranks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from slowfast.distributed.dtensor import is_sharded, to_local
from slowfast.distributed.world import World

# Keeps the quotient finite where all gradients are 0; torch's own choice.
_EPSILON = 1e-6


def gradients_of(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """The gradients that there are, spread as their parameters are."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def total_norm(gradients: Sequence[Tensor], world: World) -> Tensor:
    """Returns the Euclidean norm of all gradients together, a 0-dimensional tensor, the same on all ranks."""
    norm = get_total_norm([to_local(gradient) for gradient in gradients])
    if not any(map(is_sharded, gradients)):
        return norm  # averaged over the ranks by now, so that all have the same
    # In float64, since a square leaves float32 early.
    return world.all_reduce_sum(norm.double().square()).sqrt()


def clip_value(gradients: Sequence[Tensor], limit: float) -> None:
    """Puts each value of the gradients between ``-limit`` and ``limit``, in place."""
    for gradient in gradients:
        to_local(gradient).clamp_(-limit, limit)


def clip_norm(gradients: Sequence[Tensor], limit: float, norm: Tensor) -> None:
    """Scales the gradients, in place, so that their norm together is at most ``limit``.

    Args:
        norm: what :func:`total_norm` returned for them.
    """
    if gradients:
        factor = (limit / (norm + _EPSILON)).clamp(max=1.0).to(to_local(gradients[0]).dtype)
        torch._foreach_mul_([to_local(gradient) for gradient in gradients], factor)
