"""Slow fault tests: runs that are killed many times end with the same weights."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest
from fvcore.common.config import CfgNode

from tests.support.run_results import assert_same_end, run_nodes, run_with_signal

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

KILLS = 20


@pytest.mark.parametrize("size", [1, 2])
def test_a_run_killed_twenty_times_ends_with_the_same_weights(
    colour_videos: Path, tmp_path: Path, size: int
) -> None:
    """With averaged weights, one loader worker per process, and checkpoints as often as possible."""
    common = ("TRAIN.BATCH_SIZE", 4 // size, "DATA_LOADER.NUM_WORKERS", 1)
    common += ("DETERMINISTIC", True, "MODEL_EMA.ENABLE", True)
    often = ("TRAIN.CHECKPOINT_MINUTES", 1e-9, "SOLVER.MAX_EPOCH", 3)
    rng = random.Random(size)

    assert run_nodes(size, colour_videos, tmp_path / "unbroken", *common) == [0] * size
    for _ in range(KILLS):
        # In the first or second step, so that twenty restarts do not reach the end.
        victim, step = rng.randrange(size), rng.randrange(1, 3)

        def kill_one(cfg: CfgNode, address: str, victim: int = victim, step: int = step) -> int:
            return run_with_signal(cfg, signal.SIGKILL, step if victim == cfg.SHARD_ID else 0, address)

        codes = run_nodes(size, colour_videos, tmp_path / "killed", *common, *often, work=kill_one)
        assert codes[victim] == -signal.SIGKILL
        assert all(codes)
    assert run_nodes(size, colour_videos, tmp_path / "killed", *common) == [0] * size
    assert_same_end(tmp_path / "unbroken", tmp_path / "killed")
