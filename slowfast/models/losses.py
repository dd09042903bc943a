"""Loss functions, by the name that ``MODEL.LOSS_FUNC`` gives.

Each maps logits (B, K) float and labels to the mean loss over the batch, a 0-dimensional float32 tensor.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from slowfast.errors import ConfigError

LossFunction = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy with class indices, labels (B,) int64."""
    return F.cross_entropy(logits.float(), labels)


def soft_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy with a distribution over the classes, labels (B, K) float (mixup, smoothing)."""
    return F.cross_entropy(logits.float(), labels.float())


def bce_logit(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross entropy of each class by itself, mean over clips and classes, labels (B, K) float."""
    return F.binary_cross_entropy_with_logits(logits.float(), labels.float())


LOSSES: dict[str, LossFunction] = {
    "cross_entropy": cross_entropy,
    "soft_cross_entropy": soft_cross_entropy,
    "bce_logit": bce_logit,
}


def get_loss(name: str) -> LossFunction:
    """Returns the loss function of that name; ``ConfigError`` with the known names when there is none."""
    if name not in LOSSES:
        raise ConfigError(f"MODEL.LOSS_FUNC = {name!r}: there is no such loss; known: {', '.join(LOSSES)}")
    return LOSSES[name]
