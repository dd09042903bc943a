"""The loss of a training: that of ``MODEL.LOSS_FUNC`` with the changes of the section ``LOSS``.

Validation and tests use the plain loss, so that their values can be compared between settings.

B clips of a batch, K classes.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from slowfast.datasets.views.mixing import smooth_labels
from slowfast.distributed.device import upload
from slowfast.errors import ConfigError
from slowfast.log import get_logger
from slowfast.models.adapter import describe_returned
from slowfast.models.losses import LOSS_REGISTRY, LossFunction
from slowfast.models.objective.class_weights import (
    CLASS_WEIGHT_REGISTRY,
    count_classes,
    log_priors,
    weigh_classes,
)

logger = get_logger(__name__)

_MAX_LISTED = 10


class TrainingLoss:
    """A loss with label smoothing, logit adjustment and class weights, each of which may be switched off.

    It is the mean over the clips of weight × loss. It does not divide by the sum of a batch's weights, so
    that micro-batches and processes add up to the loss of the full batch.

    Args:
        loss: maps logits (B, K) and labels to the mean loss; with ``weights`` to the loss of each clip (B,),
            or of each class of each clip (B, K) if ``independent``.
        soft: the same loss for one value per class, which label smoothing then uses; None: ``loss`` takes
            such values itself, or is averaged over all class indices.
        weights: (K,) by class, or (K, 2) of a class's absence and presence if ``independent``; None: equal.
        adjustment: (K,), added to the logits; None: nothing is added.
        smoothing: fraction of each label that is divided equally, see
            :func:`slowfast.datasets.views.mixing.smooth_labels`.
        independent: see :class:`slowfast.models.losses.LossForms`.
    """

    def __init__(
        self,
        loss: LossFunction,
        *,
        soft: LossFunction | None = None,
        weights: NDArray[np.float64] | None = None,
        adjustment: NDArray[np.float64] | None = None,
        smoothing: float = 0.0,
        independent: bool = False,
    ) -> None:
        self._loss = loss
        self._soft = soft
        self._smoothing = smoothing
        self._independent = independent
        self._weights = None if weights is None else torch.from_numpy(weights).float()
        self._adjustment = None if adjustment is None else torch.from_numpy(adjustment).float()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Returns the mean loss of a batch, a 0-dimensional float32 tensor.

        Args:
            logits: (B, K) float.
            labels: (B,) int64 or (B, K) float, as the loss takes them.
        """
        self._move_to(logits.device)
        if self._adjustment is not None:
            logits = logits.float() + self._adjustment
        losses = self._smoothed(logits, labels)  # (), (B,) or (B, K)
        if self._weights is not None:
            weights = self._weights_of(labels)
            if losses.shape != weights.shape:
                raise ConfigError(
                    f"MODEL.LOSS_FUNC: its `each` must return the losses {tuple(weights.shape)} before the "
                    f"mean, which LOSS.CLASS_WEIGHTS weighs, and has returned {describe_returned(losses)}"
                )
            losses = losses * weights
        return losses.mean()

    def _move_to(self, device: torch.device) -> None:
        """Moves the tables to the device of the logits, once."""
        if self._weights is not None and self._weights.device != device:
            self._weights = upload(self._weights, device)
        if self._adjustment is not None and self._adjustment.device != device:
            self._adjustment = upload(self._adjustment, device)

    def _smoothed(self, logits: Tensor, labels: Tensor) -> Tensor:
        epsilon, num_classes = self._smoothing, logits.shape[1]
        if epsilon == 0:
            return self._loss(logits, labels)
        if labels.ndim == 2:
            return self._loss(logits, smooth_labels(labels, epsilon, independent=self._independent))
        if self._soft is not None:
            values = F.one_hot(labels, num_classes).float()
            return self._soft(logits, smooth_labels(values, epsilon, independent=False))
        # The mean over all K labels, for a loss that takes only indices.
        every = torch.arange(num_classes, device=labels.device).repeat(len(labels))  # (B × K,)
        losses = self._loss(logits.repeat_interleave(num_classes, dim=0), every)
        if losses.ndim:
            losses = losses.view(len(labels), num_classes).mean(dim=1)
        return (1 - epsilon) * self._loss(logits, labels) + epsilon * losses

    def _weights_of(self, labels: Tensor) -> Tensor:
        """Returns the weights (B,) of clips, or (B, K) of their classes; of several classes their mean."""
        assert self._weights is not None
        if labels.ndim == 1:
            return self._weights[labels]
        values = labels.to(self._weights.dtype)
        if self._independent:
            return self._weights[:, 0] + values * (self._weights[:, 1] - self._weights[:, 0])
        return values @ self._weights / values.sum(dim=1).clamp(min=1e-6)


def require_mean(loss: Tensor) -> Tensor:
    """Returns a loss of :func:`build_training_loss` or :func:`build_plain_loss` unchanged.

    Raises:
        ConfigError: for another result than one value, and in training for a value without a gradient.
    """
    if not isinstance(loss, Tensor) or loss.ndim:
        raise ConfigError(
            "MODEL.LOSS_FUNC: must return one value, the mean over the batch, as a tensor, and has returned "
            f"{describe_returned(loss)}; end the function with `return losses.mean()`. Where class weights "
            "need the losses of clips, register them by `each=`, see docs/EXTENDING.md"
        )
    if torch.is_grad_enabled() and not loss.requires_grad:
        raise ConfigError(
            "MODEL.LOSS_FUNC: must depend on the logits, and its result has no gradient; compute it of the "
            "logits without `detach()`, `item()` or NumPy"
        )
    return loss


def build_plain_loss(cfg: CfgNode) -> LossFunction:
    """Returns the loss that ``MODEL.LOSS_FUNC`` and ``LOSS.ARGS`` describe, without further changes."""
    return _with_arguments(LOSS_REGISTRY.get(cfg.MODEL.LOSS_FUNC), dict(cfg.LOSS.ARGS))


def build_training_loss(cfg: CfgNode, labels: NDArray[Any]) -> LossFunction:
    """Returns the loss of a training.

    Args:
        labels: of the training videos, (N,) class indices or (N, K) of ones and zeros.
    """
    options = cfg.LOSS
    is_weighted = options.CLASS_WEIGHTS != "none"
    plain = build_plain_loss(cfg)
    if not (is_weighted or options.LOGIT_ADJUSTMENT or options.LABEL_SMOOTHING):
        return plain
    forms = LOSS_REGISTRY.forms_of(cfg.MODEL.LOSS_FUNC)
    counts = count_classes(labels, cfg.MODEL.NUM_CLASSES, independent=forms.independent)
    soft = None
    if forms.soft and options.LABEL_SMOOTHING:
        soft = LOSS_REGISTRY.forms_of(forms.soft).each if is_weighted else LOSS_REGISTRY.get(forms.soft)
    arguments = dict(options.ARGS)
    loss, weights = plain, None
    if is_weighted:
        assert forms.each is not None  # the check of the configuration refuses other losses
        loss = _with_arguments(forms.each, arguments)
        scheme = CLASS_WEIGHT_REGISTRY.get(options.CLASS_WEIGHTS)
        weights = weigh_classes(counts, scheme, dict(options.CLASS_WEIGHT_ARGS))
        _log_weights(weights if weights.ndim == 1 else weights[:, 1], options.CLASS_WEIGHTS)
    return TrainingLoss(
        loss,
        soft=None if soft is None else _with_arguments(soft, arguments),
        weights=weights,
        adjustment=options.LOGIT_ADJUSTMENT * log_priors(counts) if options.LOGIT_ADJUSTMENT else None,
        smoothing=options.LABEL_SMOOTHING,
        independent=forms.independent,
    )


def _with_arguments(loss: LossFunction, arguments: dict[str, Any]) -> LossFunction:
    return functools.partial(loss, **arguments) if arguments else loss


def _log_weights(weights: NDArray[np.float64], scheme: str) -> None:
    """Logs the weights of the first classes."""
    shown = ", ".join(f"{weight:.3g}" for weight in weights[:_MAX_LISTED])
    more = f" and {len(weights) - _MAX_LISTED} more" if len(weights) > _MAX_LISTED else ""
    logger.info("class weights (%s) in the order of the classes: %s%s", scheme, shown, more)
