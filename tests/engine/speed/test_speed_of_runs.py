"""Runs measure loading beside computing: the right limit is named, and the training is not changed."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fvcore.common.config import CfgNode
from torch import Tensor

from slowfast.distributed.world import World
from slowfast.engine import dry_run
from slowfast.engine.run import run
from slowfast.engine.speed import measurement
from slowfast.extraction.extract import ExtractionRequest, extract_features
from slowfast.interrupt import Interrupt
from slowfast.timing import stage_times
from slowfast.video.pyav_video import PyAVVideo
from tests.support.processes import run_forked
from tests.support.run_results import assert_same_end, metrics_of, run_nodes
from tests.support.tiny import Tiny, tiny_config
from tests.support.tiny_features import feature_config

# Five epochs of six steps, so that the times of 20 steps after the first ones are averaged.
EPOCHS = ("SOLVER.MAX_EPOCH", 5)
LAST = "checkpoint_epoch_00005.pyth"


def slow_decoding(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Makes every read of a video's frames take longer."""
    read = PyAVVideo._read

    def read_slowly(self: PyAVVideo, *given: Any) -> np.ndarray:
        time.sleep(seconds)
        return read(self, *given)

    monkeypatch.setattr(PyAVVideo, "_read", read_slowly)


def slow_model(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Makes every training step take longer."""
    forward = Tiny.forward

    def forward_slowly(self: Tiny, *given: Any) -> Tensor:
        time.sleep(seconds)
        return forward(self, *given)

    monkeypatch.setattr(Tiny, "forward", forward_slowly)


def run_dry(*given: Any) -> int:
    return run(*given, dry_run=True)


def extract(cfg: CfgNode) -> None:
    with Interrupt() as interrupt:
        extract_features(cfg, World(), interrupt, ExtractionRequest(dtype="float32"))


@pytest.mark.parametrize("workers", [0, 1])
def test_measuring_changes_no_weight(
    workers: int, colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (*EPOCHS, "DATA_LOADER.NUM_WORKERS", workers, "TEST.ENABLE", False)
    assert run_forked(run, tiny_config(colour_videos, tmp_path / "measured", *options)) == 0
    (stats,) = metrics_of(tmp_path / "measured", "headroom")
    assert stats["workers"] == workers
    assert stats["load_decoding"] > 0
    monkeypatch.setattr(stage_times._Clock, "enter", lambda self, stage: None)
    monkeypatch.setattr("slowfast.engine.training.training_log.HeadroomMonitor.observe", lambda *given: None)
    assert run_forked(run, tiny_config(colour_videos, tmp_path / "plain", *options)) == 0
    assert metrics_of(tmp_path / "plain", "headroom") == []
    assert_same_end(tmp_path / "measured", tmp_path / "plain", LAST)


def test_the_log_of_a_training_says_once_that_loading_limits(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_decoding(monkeypatch, 0.015)
    cfg = tiny_config(colour_videos, tmp_path, *EPOCHS, "DATA_LOADER.NUM_WORKERS", 1, "TEST.ENABLE", False)
    assert run_forked(run, cfg) == 0
    lines = [line for line in (tmp_path / "stdout.log").read_text().splitlines() if " speed: " in line]
    assert len(lines) == 1
    assert "loading limits (decoding" in lines[0]
    (stats,) = metrics_of(tmp_path, "headroom")
    assert (stats["limit"], stats["limiting_stage"]) == ("loading", "decoding")
    # Four clips per batch, each 15 ms longer.
    assert stats["with_loading"] > stats["compute"]
    assert stats["load_decoding"] > 4 * 0.015
    assert min(stats["load_reading"], stats["load_transforming"], stats["load_collating"]) > 0
    assert stats["load_copying"] > 0


def test_a_dry_run_measures_a_batch_in_memory_beside_real_steps(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    slow_decoding(monkeypatch, 0.05)  # 0.2 s per batch of four clips
    slow_model(monkeypatch, 0.01)
    assert run_forked(run_dry, tiny_config(colour_videos, tmp_path / "out")) == 0
    log = capfd.readouterr().out
    measured = re.search(
        r"dry run: compute (\S+) s, with loading (\S+) s: loading limits \(decoding \d+ %", log
    )
    assert measured is not None
    assert float(measured[1]) >= 0.01
    assert float(measured[2]) >= 0.21
    assert "of it), in the training process itself (DATA_LOADER.NUM_WORKERS 0)" in log
    assert '"_type": "headroom"' in log
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_that_computing_limits(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    slow_model(monkeypatch, 1.0)  # a batch takes milliseconds, and on a busy machine tenths of a second
    cfg = tiny_config(colour_videos, tmp_path / "out", "DATA_LOADER.NUM_WORKERS", 1)
    assert run_forked(run_dry, cfg) == 0
    log = capfd.readouterr().out
    assert "compute limits; 1 worker can load a batch per" in log
    assert '"limit": "compute"' in log


def test_an_epoch_too_short_to_measure_is_estimated(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two workers load four of the six batches in advance, and the first step counts for none."""
    slow_decoding(monkeypatch, 0.02)
    cfg = tiny_config(colour_videos, tmp_path / "out", "TRAIN.BATCH_SIZE", 13, "DATA_LOADER.NUM_WORKERS", 1)
    assert run_forked(run_dry, cfg) == 0
    log = capfd.readouterr().out
    assert "with loading about 0." in log
    assert '"is_estimated": true' in log


def test_steps_and_copies_are_timed_until_the_device_has_done_them(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU stands for a device that needs another 0.1 s for what it was given."""
    monkeypatch.setattr(measurement, "is_cpu", lambda device: False)
    monkeypatch.setattr(measurement, "synchronize", lambda device: time.sleep(0.1))
    with Interrupt() as interrupt:
        (result,) = dry_run.run_dry(tiny_config(colour_videos, tmp_path), World(), interrupt)
    assert result.headroom.device_copy >= 0.1
    assert result.headroom.compute >= 0.1
    assert result.headroom.stats()["limiting_stage"] == "copying"


def test_the_slowest_rank_is_named(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    slow_decoding(monkeypatch, 0.01)
    assert run_nodes(2, colour_videos, tmp_path, "TRAIN.BATCH_SIZE", 2, work=run_dry) == [0, 0]
    log = capfd.readouterr().out
    assert log.count(", the slowest: compute ") == 1
    assert log.count('"_type": "headroom"') == 1


def test_cached_features_are_not_decoded(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cache = str(tmp_path / "cache")
    changes = ("DATA.PATH_PREFIX", str(colour_videos), "DATA.FEATURES", cache)
    cfg = feature_config(colour_videos, tmp_path / "out", *changes)
    assert run_forked(extract, cfg) == 0
    assert run_forked(run_dry, cfg) == 0
    log = capfd.readouterr().out
    (stats,) = [line for line in log.splitlines() if '"_type": "headroom"' in line]
    assert '"load_decoding": 0.00000' in stats
    assert '"load_transforming": 0.00000' in stats
    assert '"load_reading": ' in stats
    assert '"load_reading": 0.00000' not in stats
