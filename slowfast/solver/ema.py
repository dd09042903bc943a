"""A moving average of a model's weights, which often does better in tests than the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from slowfast.distributed.dtensor import to_local

# Of the warm-up, as timm's ModelEmaV3 has it.
_WARMUP_POWER = 2 / 3


class WeightAverage:
    """The exponential moving average (Polyak and Juditsky, 1992) of all weights that training changes.

    After each update of the weights w the average becomes a ← d·a + (1 − d)·w. Weights that do not learn
    and integer buffers have no average of their own; floating-point buffers have, as in timm.

    Args:
        model: whose weights are averaged; the average begins with them as they are.
        decay: d.
        warmup: in update n (from 0) d is at most 1 − (1 + n)^(−2/3), so that a short run's average is not
            made of its first, random weights.

    Attributes:
        updates: how many there were.
    """

    def __init__(self, model: nn.Module, *, decay: float, warmup: bool = False) -> None:
        self._decay = decay
        self._warmup = warmup
        # The state dict's names: with these they are saved beside the others.
        entries = model.state_dict(keep_vars=True).items()
        self._current = {name: tensor for name, tensor in entries if _changes(tensor)}
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Begins anew with the weights as they are now."""
        self.updates = 0
        self._average = {name: tensor.detach().clone() for name, tensor in self._current.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Takes the weights as they are now into the average."""
        decay = min(self._decay, 1 - (1 + self.updates) ** -_WARMUP_POWER) if self._warmup else self._decay
        torch._foreach_lerp_(_locals(self._average), _locals(self._current), 1 - decay)
        self.updates += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While the block runs the model has the averaged weights; it must not learn meanwhile."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, Any]:
        """``updates``, and the averaged ``weights`` by their names in the model's state dict."""
        return {"updates": self.updates, "weights": dict(self._average)}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what :meth:`state_dict` returned; its tensors are spread as the model's are.

        Raises:
            KeyError: naming a weight that one of the two lacks.
        """
        weights = state["weights"]
        if different := sorted(weights.keys() ^ self._average.keys()):
            raise KeyError(different[0])
        self.updates = int(state["updates"])
        for name, average in self._average.items():
            average.copy_(weights[name])

    @torch.no_grad()
    def _exchange(self) -> None:
        for current, average in zip(_locals(self._current), _locals(self._average), strict=True):
            kept = current.clone()
            current.copy_(average)
            average.copy_(kept)


def build_average(cfg: Any, model: nn.Module) -> WeightAverage | None:
    """Builds what ``MODEL_EMA`` asks for over the weights of ``model``; None where it is off."""
    if not cfg.MODEL_EMA.ENABLE:
        return None
    return WeightAverage(model, decay=cfg.MODEL_EMA.DECAY, warmup=cfg.MODEL_EMA.WARMUP)


def evaluates_average(cfg: Any) -> bool:
    """Whether validation and test use the averaged weights."""
    return cfg.MODEL_EMA.ENABLE and cfg.MODEL_EMA.EVALUATE


def _changes(tensor: Tensor) -> bool:
    if isinstance(tensor, nn.Parameter):
        return tensor.requires_grad
    return tensor.is_floating_point()


def _locals(tensors: Mapping[str, Any]) -> list[Tensor]:
    """This rank's parts, where the tensors are spread over the ranks."""
    return [to_local(tensor.detach()) for tensor in tensors.values()]
