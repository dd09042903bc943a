"""``tools/run_net.py`` with a tiny model that is slow or fails on one rank, as environment variables request.

``SLOW`` is the number of seconds by which a training step is delayed. ``FAULT`` is ``KIND:RANK:STEP``: in
that training step of that rank the model ``raises`` or ``hangs``. ``STOPPED_IN_EVALUATION`` is a rank that
sends itself SIGTERM during evaluation.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

# This file is run as a script.
sys.path.append(str(Path(__file__).parents[3]))
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import torch
import torch.distributed as dist
from torch import Tensor

from slowfast.cli.run import main
from slowfast.models.build import MODEL_REGISTRY
from tests.support.tiny import Tiny


@MODEL_REGISTRY.register("FaultyTiny")
class FaultyTiny(Tiny):
    """The tiny model, with the faults that the environment variables describe."""

    steps = 0

    def forward(self, *given: Any) -> Tensor:
        if self.training:
            self.steps += 1
            time.sleep(float(os.environ.get("SLOW", "0")))
            kind, rank, step = os.environ.get("FAULT", "none:0:0").split(":")
            here = dist.get_rank() if dist.is_initialized() else 0
            if here == int(rank) and self.steps == int(step):
                fail(kind)
        elif os.environ.get("STOPPED_IN_EVALUATION") == str(dist.get_rank() if dist.is_initialized() else 0):
            os.kill(os.getpid(), signal.SIGTERM)
        return super().forward(*given)


def fail(kind: str) -> None:
    """Raises or hangs."""
    if kind == "raises":
        raise ValueError("a defect of the model")
    if kind == "hangs":
        time.sleep(10_000)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
