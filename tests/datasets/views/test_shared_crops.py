"""Crops of one view share a decoding and equal the crops that are read alone."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from slowfast.datasets.views.shared_crops import SharedCropsReader
from slowfast.datasets.views.view_reader import ClipViews, ViewReader
from slowfast.video.decoding import open_video
from slowfast.video.pyav_video import PyAVVideo

SCHEME = ClipViews(
    num_frames=4, sampling_rate=2, target_fps=25, short_side=32, crop_size=32, num_temporal=2, num_crops=3
)


@pytest.mark.parametrize("keep_bytes", [0, 1 << 20])
def test_crops_are_those_read_alone(
    stamped_video: Path, keep_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slowfast.datasets.views.shared_crops._KEEP_BYTES", keep_bytes)
    shared, alone = SharedCropsReader(SCHEME), ViewReader(SCHEME)
    rng = np.random.default_rng(0)
    for view in (0, 1, 0):
        for crop in (0, 1, 2):
            ours, theirs = (r.read(str(stamped_video), view, crop, rng) for r in (shared, alone))
            assert torch.equal(ours[0], theirs[0])
            assert torch.equal(ours[1], theirs[1])


def test_three_crops_cost_one_decoding(stamped_video: Path) -> None:
    opened = []

    def open_counted(path: str) -> PyAVVideo:
        opened.append(path)
        return open_video(path)

    reader = SharedCropsReader(SCHEME, open_source=open_counted, stream_frames=8)
    for crop in range(3):
        reader.read(str(stamped_video), 0, crop, np.random.default_rng(0))
    assert len(opened) == 1


def test_kept_frames_are_not_pickled_with_the_reader(stamped_video: Path) -> None:
    reader = SharedCropsReader(SCHEME)
    before = len(pickle.dumps(reader))
    reader.read(str(stamped_video), 0, 0, np.random.default_rng(0))
    assert len(pickle.dumps(reader)) == before
