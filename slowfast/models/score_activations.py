"""Functions that turn logits into scores, chosen by ``MODEL.HEAD_ACT``.

B views of a batch, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from slowfast.registry import Registry

# A configuration is checked against these names without torch, so the functions use tensor methods alone.
if TYPE_CHECKING:
    from torch import Tensor

# Of the sum of scores that a model has computed in float32.
_SUM_TOLERANCE = 1e-3

ScoreActivation = Callable[["Tensor"], "Tensor"]

SCORE_ACTIVATION_REGISTRY: Registry[ScoreActivation] = Registry(
    "score activation", "MODEL.HEAD_ACT", arguments=("logits",)
)
"""Functions from logits (B, K) float to scores (B, K) float. They are applied in tests and predictions,
before the scores of a video's views are merged; training uses the logits. They may be on any device."""


@SCORE_ACTIVATION_REGISTRY.register()
def softmax(logits: Tensor) -> Tensor:
    """Returns scores that sum to 1 over the classes."""
    return logits.softmax(dim=1)


@SCORE_ACTIVATION_REGISTRY.register()
def sigmoid(logits: Tensor) -> Tensor:
    """Returns one score in 0 … 1 per class, for videos of several classes."""
    return logits.sigmoid()


@SCORE_ACTIVATION_REGISTRY.register("none")
def identity(logits: Tensor) -> Tensor:
    """Returns the logits."""
    return logits


def are_distributions(logits: Tensor) -> bool:
    """Returns whether outputs (B, K) are distributions over two classes or more, as after a softmax."""
    if logits.shape[0] == 0 or logits.shape[1] < 2:
        return False
    is_one = (logits.sum(dim=1) - 1).abs() <= _SUM_TOLERANCE
    return bool((is_one & ((logits >= 0) & (logits <= 1)).all(dim=1)).all())
