"""A loader knows the seconds of each stage, from its workers or from this process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from slowfast.config.defaults import get_default_config
from slowfast.datasets.build import build_dataset
from slowfast.datasets.loading.loader import build_loader
from slowfast.timing import stage_times
from slowfast.timing.stage_times import READING, StageTimes, take_times


def make_loader(workers: int, data: Path) -> Any:
    """Returns the training loader of the data set."""
    cfg = get_default_config()
    cfg.DATA.PATH_TO_DATA_DIR = str(data)
    cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE = 4, 2
    cfg.DATA.TRAIN_JITTER_SCALES, cfg.DATA.TRAIN_CROP_SIZE = [40, 48], 32
    cfg.MODEL.NUM_CLASSES, cfg.DATA_LOADER.NUM_WORKERS = 2, workers
    return build_loader(cfg, build_dataset(cfg, "train"), "train", batch_size=2)


def test_the_times_of_the_main_process_are_not_those_of_its_workers(
    small_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read videos before, for instance, and a worker is its fork."""
    monkeypatch.setitem(stage_times._clock.seconds, READING, 1e6)
    loader = make_loader(1, small_dataset)
    assert list(loader)
    assert 0 < loader.times.reading < 1e6


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_stage_of_real_videos_takes_time(workers: int, small_dataset: Path) -> None:
    take_times()  # of earlier tests
    loader = make_loader(workers, small_dataset)
    assert loader.times == StageTimes()
    started = time.perf_counter()
    batches = list(loader)
    seconds = time.perf_counter() - started
    times = loader.times
    assert len(batches) > 1
    assert min(times.reading, times.decoding, times.transforming, times.collating) > 0
    # A worker sends its times with the next batch; this process sends nothing.
    assert (times.copying > 0) == (0 < workers < len(batches))
    assert times.total < max(workers, 1) * seconds
    list(loader)
    assert loader.times.decoding > times.decoding
