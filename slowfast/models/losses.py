"""Loss functions, chosen by ``MODEL.LOSS_FUNC``.

B clips of a batch, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from slowfast.registry import Registry

# A configuration is checked against these names without torch, so the functions import it themselves.
if TYPE_CHECKING:
    from torch import Tensor

LossFunction = Callable[["Tensor", "Tensor"], "Tensor"]
LabelKind = Literal["indices", "values"]


class LossRegistry(Registry[LossFunction]):
    """The registry of loss functions, with the kind of labels that each of them takes."""

    def __init__(self) -> None:
        super().__init__("loss", "MODEL.LOSS_FUNC")
        self._labels: dict[str, LabelKind] = {}

    def register(
        self, name: str | None = None, *, labels: LabelKind = "indices"
    ) -> Callable[[LossFunction], LossFunction]:
        """Returns a decorator that registers a loss function under ``name`` (default: its ``__name__``).

        Args:
            labels: ``indices`` for a loss of class indices (B,) int64, ``values`` for a loss of one value per
                class, (B, K) float, as mixed clips and videos of several classes have them.
        """
        register = super().register(name)

        def add(function: LossFunction) -> LossFunction:
            registered = register(function)
            self._labels[name or function.__name__] = labels
            return registered

        return add

    def labels_of(self, name: str) -> LabelKind:
        """Returns the kind of labels that the loss ``name`` takes.

        Raises:
            ConfigError: for an unknown name.
        """
        self.get(name)
        return self._labels[name]


LOSS_REGISTRY = LossRegistry()
"""Functions of logits (B, K) float and labels, which return the mean loss of the batch as a 0-dimensional
float32 tensor. The labels are (B,) int64 or (B, K) float, see :meth:`LossRegistry.register`."""


@LOSS_REGISTRY.register()
def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the cross entropy of logits (B, K) and class indices (B,) int64."""
    from torch.nn import functional as F

    return F.cross_entropy(logits.float(), labels)


@LOSS_REGISTRY.register(labels="values")
def soft_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the cross entropy of logits (B, K) and distributions over the classes (B, K) float."""
    from torch.nn import functional as F

    return F.cross_entropy(logits.float(), labels.float())


@LOSS_REGISTRY.register(labels="values")
def bce_logit(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the binary cross entropy of each class by itself, averaged over clips and classes.

    Args:
        logits: (B, K) float.
        labels: (B, K) float in 0 … 1.
    """
    from torch.nn import functional as F

    return F.binary_cross_entropy_with_logits(logits.float(), labels.float())


def get_loss(name: str) -> LossFunction:
    """Returns the loss function that ``MODEL.LOSS_FUNC`` names.

    Raises:
        ConfigError: for an unknown name.
    """
    return LOSS_REGISTRY.get(name)
