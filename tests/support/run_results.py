"""Runs that are interrupted, and comparison of the files in the output folders of runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor

from slowfast.checkpoint.storage import read_checkpoint
from slowfast.engine.run import run
from tests.support.tiny import Tiny


def metrics_of(output: Path, kind: str) -> list[dict[str, Any]]:
    """Returns the lines of one type in ``metrics.jsonl``."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["_type"] == kind]


def assert_same_end(one: Path, other: Path, last: str = "checkpoint_epoch_00003.pyth") -> None:
    """Asserts that weights, averaged weights and optimiser state in file ``last`` are equal bit by bit."""
    first, second = (read_checkpoint(path / "checkpoints" / last) for path in (one, other))
    for name, weight in first["model_state"].items():
        assert torch.equal(weight, second["model_state"][name]), name
    assert ("ema_state" in first) == ("ema_state" in second)
    for name, weight in first.get("ema_state", {"weights": {}})["weights"].items():
        assert torch.equal(weight, second["ema_state"]["weights"][name]), name
    for number, state in first["optimizer_state"]["state"].items():
        for name, value in state.items():
            assert torch.equal(
                torch.as_tensor(value), torch.as_tensor(second["optimizer_state"]["state"][number][name])
            )


def run_with_signal(cfg: CfgNode, signum: int, step: int, address: str = "") -> int:
    """Runs with a model that sends its own process a signal in training step ``step``, counted from 1."""
    forward, count = Tiny.forward, 0

    def forward_and_signal(self: Tiny, *given: Any) -> Tensor:
        nonlocal count
        count += self.training
        if count == step and self.training:
            os.kill(os.getpid(), signum)
        return forward(self, *given)

    Tiny.forward = forward_and_signal  # type: ignore[method-assign]
    return run(cfg, address)
