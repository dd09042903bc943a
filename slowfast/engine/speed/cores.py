"""The processor cores of one training process."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from slowfast.distributed.device import is_cpu
from slowfast.distributed.host import usable_cores
from slowfast.distributed.world import World


@dataclass(frozen=True)
class Cores:
    """The cores of one training process.

    Attributes:
        total: for its workers and itself.
        computing: those that the step keeps busy: the threads of a model on the CPU; 0 on a GPU.
    """

    total: int
    computing: int = 0


def cores_of(world: World) -> Cores:
    """Returns the cores of this process, an equal part of those of its node."""
    total = max(usable_cores() // world.local_size, 1)
    return Cores(total, min(torch.get_num_threads(), total) if is_cpu(world.device) else 0)
