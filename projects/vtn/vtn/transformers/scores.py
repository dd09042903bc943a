"""Scores and losses of the outputs of a model, by the problem type of its configuration.

B clips, V views of each, K classes.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from slowfast.models.score_activations import SCORE_ACTIVATION_REGISTRY
from vtn.folder.entries import LOGITS_ARE_SCORES, own_activation_of
from vtn.transformers.configuration import VTNConfig

_MULTI_LABEL = "multi_label_classification"


def merge_logits(logits: Tensor, problem_type: str | None) -> Tensor:
    """Maps logits (B, V, K) to those (B, K) whose scores are the mean of the views' scores."""
    if problem_type == _MULTI_LABEL:
        # The logit of the mean; a score by itself would be 1 in float32 from logits of 17 on.
        return F.logsigmoid(logits).logsumexp(1) - F.logsigmoid(-logits).logsumexp(1)
    if problem_type == LOGITS_ARE_SCORES:
        return logits.mean(1)
    return logits.log_softmax(-1).logsumexp(1) - math.log(logits.shape[1])


def has_own_activation(config: VTNConfig) -> bool:
    """Returns whether an activation that the user has registered turns logits into scores."""
    return config.problem_type == LOGITS_ARE_SCORES and own_activation_of(config.evaluation) != ""


def apply_own_activation(logits: Tensor, config: VTNConfig) -> Tensor:
    """Maps logits (B, V, K) to scores (B, K): the mean over the views, as a test of the model has it.

    Raises:
        ConfigError: where the activation is not registered.
    """
    activation = SCORE_ACTIVATION_REGISTRY.get(own_activation_of(config.evaluation))
    return activation(logits.flatten(0, 1)).unflatten(0, logits.shape[:2]).mean(1)


def compute_loss(logits: Tensor, labels: Tensor, problem_type: str | None) -> Tensor:
    """Returns the loss of logits (B, K) for classes (B,), or for probabilities or marks (B, K)."""
    if problem_type == _MULTI_LABEL:
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    return F.cross_entropy(logits, labels.to(logits.dtype) if labels.is_floating_point() else labels.long())
