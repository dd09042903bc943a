"""Loss functions, chosen by ``MODEL.LOSS_FUNC``.

B clips of a batch, K classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from slowfast.errors import ConfigError
from slowfast.registry import Entry, Registry

# A configuration is checked against these names without torch, so the functions import it themselves.
if TYPE_CHECKING:
    from torch import Tensor

LossFunction = Callable[..., "Tensor"]
"""A function of logits (B, K) float and labels, and of keywords of its own, the keys of ``LOSS.ARGS``."""
LabelKind = Literal["indices", "values"]


@dataclass(frozen=True)
class LossForms:
    """The properties of a registered loss.

    Attributes:
        labels: ``indices`` for a loss of class indices (B,) int64, ``values`` for a loss of one value per
            class, (B, K) float, as mixed clips and videos of several classes have them.
        each: the same loss before the mean, (B,), or (B, K) for a loss that is ``independent``; None:
            unknown. Class weights need it.
        soft: name of the same loss for distributions over the classes, for label smoothing; empty: unknown.
        independent: whether the loss decides about each class by itself, as for videos of several classes.
    """

    labels: LabelKind = "indices"
    each: LossFunction | None = None
    soft: str = ""
    independent: bool = False


_FOREIGN = {
    "bce": "with DATA.MULTI_LABEL True use bce_logit, which takes the values before the sigmoid",
    "contrastive_loss": "training without labels is not supported; use cross_entropy",
    "mse": "the models here classify; use cross_entropy or soft_cross_entropy",
    "multi_mse": "training without labels is not supported; use cross_entropy",
}
"""Losses of PySlowFast that are not here -> the remedy."""


class LossRegistry(Registry[LossFunction]):
    """The registry of loss functions, with the properties of each of them."""

    def __init__(self) -> None:
        call = ("logits", "labels", "**LOSS.ARGS")
        super().__init__("loss", "MODEL.LOSS_FUNC", _FOREIGN, arguments=call)
        self._forms: dict[str, LossForms] = {}

    def register(
        self,
        name: str | None = None,
        *,
        labels: LabelKind = "indices",
        each: LossFunction | None = None,
        soft: str = "",
        independent: bool = False,
    ) -> Callable[[Entry], Entry]:
        """Returns a decorator that registers a loss function under ``name`` (default: its ``__name__``).

        Args:
            labels, each, soft, independent: see :class:`LossForms`.
        """
        register = super().register(name)

        def add(function: Entry) -> Entry:
            entry_name = name or function.__name__  # type: ignore[attr-defined]
            if each is not None:
                self.require_call(each, f"each of {entry_name}")
            register(function)
            self._forms[entry_name] = LossForms(labels, each, soft, independent)
            return function

        return add

    def require_call(self, entry: Any, name: str) -> None:
        if isinstance(entry, type):
            raise ConfigError(f"loss {name!r}: must be a function and is a class; register an object of it")
        super().require_call(entry, name)

    def forms_of(self, name: str) -> LossForms:
        """Returns the properties of the loss ``name``.

        Raises:
            ConfigError: for an unknown name.
        """
        self.get(name)
        return self._forms.get(name, LossForms())


LOSS_REGISTRY = LossRegistry()
"""Functions of logits (B, K) float and labels, which return the mean loss of the batch as a 0-dimensional
float32 tensor. The labels are (B,) int64 or (B, K) float, see :class:`LossForms`. Keyword-only parameters are
set by ``LOSS.ARGS``. Logits and labels are on the device of the model in training, and in host memory in
evaluations: tensors of a function's own must follow ``logits.device``."""


def _register_mean(
    *, labels: LabelKind = "indices", soft: str = "", independent: bool = False
) -> Callable[[LossFunction], LossFunction]:
    """Returns a decorator of a loss before the mean, which registers the mean under the function's name."""

    def register(each: LossFunction) -> LossFunction:
        @functools.wraps(each)  # with its keywords, which LOSS.ARGS sets
        def mean(logits: Tensor, labels: Tensor, **arguments: Any) -> Tensor:
            return each(logits, labels, **arguments).mean()

        form = LOSS_REGISTRY.register(labels=labels, each=each, soft=soft, independent=independent)
        return form(mean)

    return register


@_register_mean(soft="soft_cross_entropy")
def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the cross entropy of logits (B, K) and class indices (B,) int64."""
    from torch.nn import functional as F

    return F.cross_entropy(logits.float(), labels, reduction="none")  # (B,)


@_register_mean(labels="values")
def soft_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the cross entropy of logits (B, K) and distributions over the classes (B, K) float."""
    from torch.nn import functional as F

    return F.cross_entropy(logits.float(), labels.float(), reduction="none")  # (B,)


@_register_mean(labels="values", independent=True)
def bce_logit(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the binary cross entropy of each class by itself, averaged over clips and classes.

    Args:
        logits: (B, K) float.
        labels: (B, K) float in 0 … 1.
    """
    from torch.nn import functional as F

    return F.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none")  # (B, K)


@_register_mean(soft="soft_focal")
def focal(logits: Tensor, labels: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Returns the focal loss −(1 − p)^γ log p, p the score of the true class (Lin et al., 2017, section 3.2).

    Clips that are classified well count less. γ 0 is the cross entropy.

    Args:
        logits: (B, K) float.
        labels: (B,) int64.
        gamma: γ, 0 or more.
    """
    log_scores = logits.float().log_softmax(dim=1).gather(1, labels[:, None])[:, 0]  # (B,)
    return -_power(1 - log_scores.exp(), gamma) * log_scores


@_register_mean(labels="values")
def soft_focal(logits: Tensor, labels: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Returns the mean of :func:`focal` over distributions of classes (B, K) float."""
    log_scores = logits.float().log_softmax(dim=1)  # (B, K)
    return -(labels.float() * _power(1 - log_scores.exp(), gamma) * log_scores).sum(dim=1)


@_register_mean(labels="values", independent=True)
def focal_logit(logits: Tensor, labels: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Returns the focal loss of each class by itself, averaged over clips and classes.

    For labels 0 and 1 as torchvision's ``sigmoid_focal_loss`` with ``alpha=-1``. For a label between them, as
    mixed clips have it, the mean of the losses of 1 and 0, weighted by the label.

    Args:
        logits: (B, K) float.
        labels: (B, K) float in 0 … 1.
        gamma: γ, 0 or more; 0 is :func:`bce_logit`.
    """
    from torch.nn import functional as F

    logits, labels = logits.float(), labels.float()
    of_presence, of_absence = F.softplus(-logits), F.softplus(logits)  # -log p and -log (1 - p)
    scores = logits.sigmoid()
    weight_of_presence, weight_of_absence = _power(1 - scores, gamma), _power(scores, gamma)
    return labels * weight_of_presence * of_presence + (1 - labels) * weight_of_absence * of_absence


def _power(base: Tensor, gamma: float) -> Tensor:
    """Returns base ** gamma for a base of 0 or more; its derivative at 0 is finite for any gamma."""
    import torch

    return base.clamp_min(torch.finfo(base.dtype).tiny) ** gamma
