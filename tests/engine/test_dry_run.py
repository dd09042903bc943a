"""A dry run builds everything, takes a few steps, logs their time and memory, and writes no file."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from fvcore.common.config import CfgNode
from torch import Tensor

from slowfast.engine.run import run
from slowfast.errors import ConfigError
from tests.support.processes import run_forked
from tests.support.run_results import run_nodes
from tests.support.tiny import Tiny, tiny_config


def run_dry(cfg: CfgNode, address: str = "") -> int:
    return run(cfg, address, dry_run=True)


def test_time_and_memory_of_a_step_are_logged_for_each_rank(
    colour_videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output, options = tmp_path / "out", ("TRAIN.BATCH_SIZE", 2, "TENSORBOARD.ENABLE", True)
    assert run_nodes(2, colour_videos, output, *options, work=run_dry) == [0, 0]
    log = capfd.readouterr().out
    assert "dry run: 835 parameters, 835 of them trained" in log
    assert "6 steps per epoch, 18 in total" in log
    assert "4 clips per step = 2 processes × 2" in log
    assert len(re.findall(r"first batch loaded in \S+ s, first step took \S+ s\n", log)) == 1
    for rank in (0, 1):
        assert re.search(
            rf"rank {rank} on \S+, cpu: 2 clips of 4 frames; .* s per step; peak memory \d+", log
        )
    assert not output.exists()


def test_the_memory_of_the_optimizer_is_counted(
    colour_videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cfg = tiny_config(colour_videos, tmp_path / "out", "SOLVER.OPTIMIZING_METHOD", "adamw")
    assert run_forked(run_dry, cfg) == 0
    log = capfd.readouterr().out
    sizes = re.findall(r"(?:weights|gradients|optimiser) ([\d.]+) KiB", log)
    assert [float(size) for size in sizes] == pytest.approx(
        [3.3, 3.3, 6.5], abs=0.06
    )  # 835 numbers of 4 bytes


def test_a_signal_ends_it_before_the_next_step(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    forward = Tiny.forward

    def forward_and_stop(self: Tiny, *given: Any) -> Tensor:
        os.kill(os.getpid(), signal.SIGTERM)
        return forward(self, *given)

    monkeypatch.setattr(Tiny, "forward", forward_and_stop)
    assert run_forked(run_dry, tiny_config(colour_videos, tmp_path / "out")) == 143
    assert "stopped by SIGTERM" in capfd.readouterr().out.splitlines()[-1]


def test_a_configuration_that_does_not_train_is_refused(colour_videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"TRAIN\.ENABLE = False: must be True for --dry-run"):
        run(tiny_config(colour_videos, tmp_path, "TRAIN.ENABLE", False), dry_run=True)
