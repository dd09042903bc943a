"""The running statistics of batch norms across a step that is skipped."""

from __future__ import annotations

import operator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


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
