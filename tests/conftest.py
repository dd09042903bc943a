"""Fixtures for all tests: real encoded videos, made once a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from videos import write_csv, write_video

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def stamped_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An H.264 file of 60 stamped frames, 64 × 96 pixels, 25 fps, B-frames, a key frame every 12."""
    return write_video(tmp_path_factory.mktemp("video") / "stamped.mp4", 60, size=(64, 96), bf="2")


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.csv, val.csv and test.csv of eight short videos each, of two classes.

    The videos have 10 to 24 frames; the first frame's number tells class and video apart.
    """
    folder = tmp_path_factory.mktemp("dataset")
    videos = [
        (write_video(folder / f"{i}.mp4", 10 + 2 * i, size=(48, 64 if i % 2 else 48), gop=50), i % 2)
        for i in range(8)
    ]
    for split in ("train", "val", "test"):
        write_csv(folder / f"{split}.csv", videos)
    return folder
