"""Fixtures for all tests: real encoded videos, made once per session."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

from slowfast.log import close_logging, show_info
from slowfast.registry import import_project_modules
from tests.support.videos import write_csv, write_video

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)
show_info()  # as in a command
# On a busy machine any example may take seconds.
hypothesis.settings.register_profile("any duration", deadline=None)
hypothesis.settings.load_profile("any duration")
# Processes that tests fork compute gradients. Torch refuses that where the first gradient of this process was
# computed after a FakeTensorMode, as torch.export uses it, had given torch a device without memory.
if not torch.cuda.device_count():
    torch.zeros(1, requires_grad=True).sum().backward()


@pytest.fixture(autouse=True)
def same_precision_on_all_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes INFERENCE.PRECISION ``auto`` float32, also on processors with bfloat16 instructions."""
    monkeypatch.setattr("slowfast.models.inference.encoding.has_bfloat16", lambda device: False)


@pytest.fixture(autouse=True)
def no_handler_of_an_earlier_command() -> None:
    """Removes the log handlers of commands that ran in this process, whose streams or folders are gone."""
    close_logging()
    for handler in list(logging.root.handlers):
        if getattr(getattr(handler, "stream", None), "closed", False):
            logging.root.removeHandler(handler)


@pytest.fixture(scope="session")
def projects_imported() -> None:
    """Imports the modules of all projects once, instead of in each forked process."""
    import_project_modules()


@pytest.fixture(scope="session")
def stamped_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An H.264 file of 60 stamped frames, 64 × 96 pixels, 25 fps, B-frames, a key frame every 12."""
    return write_video(tmp_path_factory.mktemp("video") / "stamped.mp4", 60, size=(64, 96), bf="2")


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.csv, val.csv and test.csv of eight short videos each, of two classes.

    The videos have 10 to 24 frames; the first frame's stamp identifies class and video.
    """
    folder = tmp_path_factory.mktemp("dataset")
    videos = [
        (write_video(folder / f"{i}.mp4", 10 + 2 * i, size=(48, 64 if i % 2 else 48), gop=50), i % 2)
        for i in range(8)
    ]
    for split in ("train", "val", "test"):
        write_csv(folder / f"{split}.csv", videos)
    return folder


COLOURS = ((200, 60, 60), (60, 200, 60), (60, 60, 200))


@pytest.fixture(scope="session")
def colour_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ``train.csv`` (26 videos), ``val.csv`` (7) and ``test.csv`` (7), 16 frames of 40 × 32."""
    folder = tmp_path_factory.mktemp("colour_videos")
    rng = np.random.default_rng(0)
    for split, count in (("train", 26), ("val", 7), ("test", 7)):
        lines = []
        for number in range(count):
            label = number % len(COLOURS)
            path = folder / f"{split}_{number}.mp4"
            frames = np.array(COLOURS[label]) + rng.normal(0, 50, (16, 8, 10, 3)).repeat(4, 1).repeat(4, 2)
            write_video(path, list(frames.clip(0, 255).astype(np.uint8)), codec="mpeg4")
            lines.append(f"{path} {label}\n")
        (folder / f"{split}.csv").write_text("".join(lines))
    return folder
