"""Videos, and caches that are extracted from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slowfast.distributed.world import World
from slowfast.extraction.extract import ExtractionRequest, extract_features
from slowfast.interrupt import Interrupt
from tests.support.tiny_features import feature_config
from tests.support.videos import write_csv, write_video

TICKS = tuple(int(20 * i + 600 * (i > 11)) for i in range(24))


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Square videos of 10 to 24 frames in ``clips/``, one of a varying frame rate, listed with a prefix."""
    folder = tmp_path_factory.mktemp("feature_videos")
    (folder / "clips").mkdir()
    for i in range(8):
        ticks = TICKS if i == 7 else None
        write_video(folder / f"clips/{i}.mp4", 10 + 2 * i, size=(40, 40), bf="2", ticks=ticks)
    listed = [(f"clips/{i}.mp4", i % 3) for i in range(8)]
    for split in ("train", "val", "test"):
        write_csv(folder / f"{split}.csv", listed)
    return folder


@pytest.fixture
def make(videos: Path, tmp_path: Path) -> Any:
    """Extracts a cache; returns the configuration that reads it."""

    def extract(*changes: Any, data: Path = videos, **request: Any) -> Any:
        cfg = feature_config(
            data, tmp_path, "DATA.PATH_PREFIX", str(data), "DATA.FEATURES", str(tmp_path / "cache"), *changes
        )
        extract_features(cfg, World(), Interrupt(), ExtractionRequest(**{"dtype": "float32", **request}))
        return cfg

    return extract
