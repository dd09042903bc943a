"""A moving average of a model's weights, which is often more accurate in tests than the weights themselves.

Why not timm's ``ModelEmaV3`` or PyTorch's ``AveragedModel``: both keep a copy of the whole model, its frozen
parts included. Here only the weights that training changes have an average, which is sharded as the weights
are; an evaluation exchanges the two in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast.distributed.dtensor import to_local
from slowfast.errors import counted
from slowfast.log import get_logger

# Exponent of the warm-up, as in timm's ModelEmaV3.
_WARMUP_POWER = 2 / 3
# Fraction of the initial weights in the last average above which a run is warned.
_LARGEST_INITIAL = 0.1

logger = get_logger(__name__)


class WeightAverage:
    """An exponential moving average (Polyak and Juditsky, 1992) of all weights that training changes.

    After each step the average becomes a ← d·a + (1 − d)·w, with weights w and decay d. Trainable parameters
    and floating-point buffers are averaged, as in timm; frozen parameters and integer buffers are not.

    Args:
        model: the model whose weights are averaged; the average starts with its current weights.
        decay: d.
        warmup: limits d in update n (from 0) to 1 − (1 + n)^(−2/3), so that the initial weights have little
            effect on the average of a short run.

    Attributes:
        updates: number of updates so far.
    """

    def __init__(self, model: nn.Module, *, decay: float, warmup: bool = False) -> None:
        self._decay = decay
        self._warmup = warmup
        # The names of the state dict, under which the average is saved beside the weights.
        entries = model.state_dict(keep_vars=True).items()
        self._current = {name: tensor for name, tensor in entries if _changes(tensor)}
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Restarts the average with the current weights."""
        self.updates = 0
        self._average = {name: tensor.detach().clone() for name, tensor in self._current.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Updates the average with the current weights."""
        decay = min(self._decay, 1 - (1 + self.updates) ** -_WARMUP_POWER) if self._warmup else self._decay
        torch._foreach_lerp_(_locals(self._average), _locals(self._current), 1 - decay)
        self.updates += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Gives the model the averaged weights while the block runs; it must not be trained there."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, Any]:
        """Returns ``updates``, and the averaged ``weights`` by their names in the model's state dict."""
        return {"updates": self.updates, "weights": dict(self._average)}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the state that :meth:`state_dict` returned; its tensors are sharded as the model's are."""
        self.updates = int(state["updates"])
        for name, average in self._average.items():
            average.copy_(state["weights"][name])

    @torch.no_grad()
    def _exchange(self) -> None:
        for current, average in zip(_locals(self._current), _locals(self._average), strict=True):
            kept = current.clone()
            current.copy_(average)
            average.copy_(kept)


def build_average(cfg: CfgNode, model: nn.Module) -> WeightAverage | None:
    """Builds the average of the weights of ``model`` that ``MODEL_EMA`` describes; None where it is off."""
    if not cfg.MODEL_EMA.ENABLE:
        return None
    return WeightAverage(model, decay=cfg.MODEL_EMA.DECAY, warmup=cfg.MODEL_EMA.WARMUP)


def check_average(cfg: CfgNode, steps: int) -> None:
    """Warns where the initial weights are a large part of the average that is evaluated after all steps."""
    initial = cfg.MODEL_EMA.DECAY**steps
    if evaluates_average(cfg) and not cfg.MODEL_EMA.WARMUP and initial > _LARGEST_INITIAL:
        logger.warning(
            "MODEL_EMA.DECAY = %g: after %s the averaged weights, which validation and test use, are still "
            "%.3g %% the initial ones; set MODEL_EMA.WARMUP True, or a smaller MODEL_EMA.DECAY",
            cfg.MODEL_EMA.DECAY,
            counted(steps, "step"),
            100 * initial,
        )


def evaluates_average(cfg: CfgNode) -> bool:
    """Returns whether validation and test use the averaged weights."""
    return cfg.MODEL_EMA.ENABLE and cfg.MODEL_EMA.EVALUATE


def _changes(tensor: Tensor) -> bool:
    """Returns whether training changes a parameter or buffer."""
    if isinstance(tensor, nn.Parameter):
        return tensor.requires_grad
    return tensor.is_floating_point()


def _locals(tensors: Mapping[str, Any]) -> list[Tensor]:
    """Returns the tensors, or this rank's shards of sharded tensors."""
    return [to_local(tensor.detach()) for tensor in tensors.values()]
