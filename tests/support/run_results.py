"""Runs that are interrupted or distributed, and comparison of the files in their output folders."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fvcore.common.config import CfgNode
from torch import Tensor

from slowfast.checkpoint.storage import read_checkpoint
from slowfast.distributed.world import free_local_address
from slowfast.engine.run import run
from tests.support.processes import run_all
from tests.support.tiny import Tiny, tiny_config

NO_DROPOUT_OR_TEST = ("MODEL.DROPOUT_RATE", 0.0, "TEST.ENABLE", False)


def metrics_of(output: Path, kind: str) -> list[dict[str, Any]]:
    """Returns the lines of one type in ``metrics.jsonl``."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["_type"] == kind]


def run_nodes(
    size: int, data: Path, output: Path, *options: Any, work: Callable[[CfgNode, str], Any] = run
) -> list[int]:
    """Runs ``work(cfg, address)`` on ``size`` nodes of one process each; returns the exit codes."""
    address = free_local_address()
    shared = ("NUM_SHARDS", size, *options)
    configs = [tiny_config(data, output, *shared, "SHARD_ID", shard) for shard in range(size)]
    return run_all(work, [(cfg, address) for cfg in configs], seconds=120)


def train_distributed(size: int, data: Path, output: Path, *options: Any) -> None:
    """Runs ``size`` nodes of one process each, with four clips per step over all of them."""
    assert run_nodes(size, data, output, "TRAIN.BATCH_SIZE", 4 // size, *options) == [0] * size


def losses_of(output: Path) -> list[float]:
    """Returns the training loss of each step."""
    return [line["loss"] for line in metrics_of(output, "train_iter")]


def assert_same_metrics(one: Path, other: Path, rel: float = 1e-4) -> None:
    """Asserts that losses and gradient norms of all steps, and the loss of the validation, are close."""
    assert losses_of(other) == pytest.approx(losses_of(one), rel=rel)
    norms = [[line["grad_norm"] for line in metrics_of(path, "train_iter")] for path in (one, other)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)
    val = [metrics_of(path, "val_epoch")[0] for path in (one, other)]
    assert val[1]["loss"] == pytest.approx(val[0]["loss"], rel=1e-3)


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


def log_of(output: Path) -> str:
    """Returns the log of rank 0."""
    return (output / "stdout.log").read_text()
