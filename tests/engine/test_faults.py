"""Slow fault tests: runs that are killed many times end with the same weights."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import pytest

from slowfast.distributed.world import free_local_address
from slowfast.engine.run import run
from tests.support.processes import run_all
from tests.support.run_results import assert_same_end, run_with_signal
from tests.support.tiny import tiny_config

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

KILLS = 20


@pytest.mark.parametrize("size", [1, 2])
def test_a_run_killed_twenty_times_ends_with_the_same_weights(
    colour_videos: Path, tmp_path: Path, size: int
) -> None:
    """With averaged weights, one loader worker per process, and checkpoints as often as possible."""
    common = ("TRAIN.BATCH_SIZE", 4 // size, "NUM_SHARDS", size, "DATA_LOADER.NUM_WORKERS", 1)
    common += ("DETERMINISTIC", True, "MODEL_EMA.ENABLE", True)
    often = ("TRAIN.CHECKPOINT_MINUTES", 1e-9, "SOLVER.MAX_EPOCH", 3)
    rng = random.Random(size)

    def configs(folder: str, *more: Any) -> list[Any]:
        path = tmp_path / folder
        return [tiny_config(colour_videos, path, *common, *more, "SHARD_ID", n) for n in range(size)]

    address = free_local_address()
    assert run_all(run, [(cfg, address) for cfg in configs("unbroken")]) == [0] * size
    for _ in range(KILLS):
        address, victim = free_local_address(), rng.randrange(size)
        # In the first or second step, so that twenty restarts do not reach the end.
        steps = [rng.randrange(1, 3) if number == victim else 0 for number in range(size)]
        ranks = zip(configs("killed", *often), steps, strict=True)
        given = [(cfg, signal.SIGKILL, step, address) for cfg, step in ranks]
        codes = run_all(run_with_signal, given, seconds=120)
        assert codes[victim] == -signal.SIGKILL
        assert all(codes)
    address = free_local_address()
    assert run_all(run, [(cfg, address) for cfg in configs("killed")]) == [0] * size
    assert_same_end(tmp_path / "unbroken", tmp_path / "killed")
