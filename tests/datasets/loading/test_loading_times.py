"""A loader knows the seconds of each stage, from its workers or from this process."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from slowfast.config.defaults import get_default_config
from slowfast.datasets.build import build_dataset
from slowfast.datasets.loading.loader import build_loader
from slowfast.timing.stage_times import StageTimes


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_stage_of_real_videos_takes_time(workers: int, small_dataset: Path) -> None:
    cfg = get_default_config()
    cfg.DATA.PATH_TO_DATA_DIR = str(small_dataset)
    cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE = 4, 2
    cfg.DATA.TRAIN_JITTER_SCALES, cfg.DATA.TRAIN_CROP_SIZE = [40, 48], 32
    cfg.MODEL.NUM_CLASSES, cfg.DATA_LOADER.NUM_WORKERS = 2, workers
    loader = build_loader(cfg, build_dataset(cfg, "train"), "train", batch_size=2)
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
