"""The statistics of batch norms: those of a step that is skipped, and those of micro-batches."""

from __future__ import annotations

import operator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from slowfast.log import get_logger

logger = get_logger(__name__)


def warn_of_micro_batches(model: nn.Module, number: int) -> None:
    """Logs a warning if micro-batches change the loss, because of batch norms in training mode.

    Args:
        model: whose modules have their modes of training.
        number: of the micro-batches of a step.
    """
    norms = (module for module in model.modules() if isinstance(module, _BatchNorm))
    if any(norm.training or norm.running_mean is None for norm in norms):
        logger.warning(
            "TRAIN.GRAD_ACCUM_STEPS is %d: the batch norms of this model have the statistics of "
            "micro-batches, so that loss and gradients are not those of the full batch; use 1 if the memory "
            "suffices, for example with TRAIN.PRECISION mixed",
            number,
        )


class NormStatistics:
    """A copy of the running means and variances that a forward pass changes.

    A pass whose values are not finite makes them infinite or NaN for good, also where its step is skipped.

    Args:
        model: whose batch norms are meant; those in evaluation mode do not change.
    """

    def __init__(self, model: nn.Module) -> None:
        self._norms = [module for module in model.modules() if isinstance(module, _NormBase)]
        self._changing: list[Tensor] = []
        self._copies: list[Tensor] = []

    @torch.no_grad()
    def keep(self) -> None:
        """Copies the statistics of the batch norms in training mode."""
        changing = [
            statistics
            for norm in self._norms
            if norm.training
            for statistics in (norm.running_mean, norm.running_var)
            if statistics is not None
        ]
        if len(changing) == len(self._changing) and all(map(operator.is_, changing, self._changing)):
            if changing:
                torch._foreach_copy_(self._copies, changing)
        else:
            self._copies = [statistics.clone() for statistics in changing]
        self._changing = changing

    @torch.no_grad()
    def restore(self) -> None:
        """Writes the copies back."""
        if self._changing:
            torch._foreach_copy_(self._changing, self._copies)
