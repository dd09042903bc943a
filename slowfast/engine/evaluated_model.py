"""The model that is validated during training: with full tensors, and averaged weights if there are any."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.distributed as dist
from torch import nn

from slowfast.distributed.dtensor import copy_state
from slowfast.distributed.world import World
from slowfast.solver.ema import WeightAverage


class EvaluatedModel:
    """A model in training that temporarily has full tensors on each rank and the weights to be evaluated.

    Args:
        model: on its device, before :func:`slowfast.distributed.parallel.distribute`.
        sharded: whether its parameters will be sharded; an unsharded copy then stays in host memory.

    Attributes:
        network: the model to be evaluated, valid in :meth:`ready` only.
        is_copy: whether it is another object than the trained model.
    """

    def __init__(self, model: nn.Module, world: World, *, sharded: bool) -> None:
        self._world = world
        self._trained = model
        self._average: WeightAverage | None = None
        self.is_copy = sharded
        self.network = model
        if sharded:
            # Copied in host memory: a model that needs sharding does not fit on the device twice.
            self.network = copy.deepcopy(model.to("cpu"))
            model.to(world.device)

    def use(self, average: WeightAverage | None) -> None:
        """Evaluates the averaged weights from now on; None: the model's own."""
        self._average = average

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Prepares the network for evaluation while the block runs; all ranks must call it.

        The block must not train the model.
        """
        if not self.is_copy:
            with self._evaluated_weights():
                yield
            return
        self.network.to(self._world.device)
        try:
            with self._evaluated_weights(), self._world.blocking_on("the weights to be evaluated"):
                copy_state(self._trained, self.network)
            yield
        finally:
            self.network.to("cpu")

    @contextmanager
    def _evaluated_weights(self) -> Iterator[None]:
        with self._average.in_place() if self._average is not None else nullcontext():
            self._broadcast_buffers()
            yield

    @torch.no_grad()
    def _broadcast_buffers(self) -> None:
        """Copies the buffers of rank 0, the saved ones, to all ranks; batch norms differ slightly."""
        if self._world.size == 1:
            return
        with self._world.blocking_on("the buffers of rank 0"):
            for buffer in self._trained.buffers():
                # Training changes neither tables of indices nor expanded views of smaller tensors.
                if buffer.is_floating_point() and buffer.is_contiguous():
                    dist.broadcast(buffer, src=0)
