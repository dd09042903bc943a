"""The model that is validated during training: unsharded, with averaged weights if there are any."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.distributed as dist
from torch import nn

from slowfast.distributed.blocking import blocking_on
from slowfast.distributed.dtensor import copy_state
from slowfast.distributed.world import World
from slowfast.solver.ema import WeightAverage


class EvaluatedModel:
    """A model in training, whole on each rank and with the weights that are evaluated, for a while.

    Args:
        model: on its device, before :func:`distribute`.
        sharded: whether it will be in parts; then a copy stays in host memory.

    Attributes:
        network: to be evaluated, in :meth:`ready` only.
        is_copy: whether it is another model than the trained one.
    """

    def __init__(self, model: nn.Module, world: World, *, sharded: bool) -> None:
        self._world = world
        self._trained = model
        self._average: WeightAverage | None = None
        self.is_copy = sharded
        self.network = copy.deepcopy(model).to("cpu") if sharded else model

    def use(self, average: WeightAverage | None) -> None:
        """From now on the averaged weights are evaluated; None: the model's own."""
        self._average = average

    @contextmanager
    def ready(self) -> Iterator[None]:
        """While the block runs the model can be evaluated; it must not learn meanwhile. All ranks call it."""
        if not self.is_copy:
            with self._evaluated_weights():
                yield
            return
        self.network.to(self._world.device)
        try:
            with self._evaluated_weights():
                copy_state(self._trained, self.network)
            yield
        finally:
            self.network.to("cpu")

    @contextmanager
    def _evaluated_weights(self) -> Iterator[None]:
        with self._average.in_place() if self._average is not None else nullcontext():
            self._share_buffers()
            yield

    @torch.no_grad()
    def _share_buffers(self) -> None:
        """Gives all ranks the buffers of rank 0, which are saved; those of batch norms differ a bit."""
        if self._world.size > 1:
            with blocking_on("the buffers of rank 0"):
                for buffer in self._trained.buffers():
                    # Training changes no tables of indices, and none that are views of something smaller.
                    if buffer.is_floating_point() and buffer.is_contiguous():
                        dist.broadcast(buffer, src=0)
