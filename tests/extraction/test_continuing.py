"""Extractions that are started again: what is complete is kept, what is not is completed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast.distributed.world import World
from slowfast.extraction.extract import ExtractionRequest, extract_features
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.models import frame_encoder
from slowfast.models.capabilities import EncodingSetup
from slowfast.progress import Progress
from tests.support.tiny_features import TinyFeatures, feature_config, scores


def test_incomplete_features_of_another_precision_are_extracted_again(
    make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Otherwise one video would have rows of both."""
    monkeypatch.setattr(frame_encoder, "CHUNK_FRAMES", 4)
    encode, calls = TinyFeatures.encode_frames, list[int]()

    def stopped(self: TinyFeatures, frames: torch.Tensor) -> torch.Tensor:
        calls.append(frames.shape[2])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(self, frames)

    class Reduced(EncodingSetup):
        """A setup of a model that computes in bfloat16."""

        def describe(self) -> str:
            return "bfloat16"

    with monkeypatch.context() as patch:
        patch.setattr(TinyFeatures, "encode_frames", stopped)
        patch.setattr("slowfast.extraction.extract.build_encoding", lambda *_: Reduced("bfloat16"))
        with pytest.raises(KeyboardInterrupt):
            make()
    assert len(list((tmp_path / "cache").rglob("*.part.npy"))) == 1
    monkeypatch.setattr(TinyFeatures, "encode_frames", lambda self, frames: encode(self, frames) + 1)
    make()
    first = np.load(tmp_path / "cache/short32-crop32-1of1/clips/0.mp4.npy")
    make("DATA.FEATURES", str(tmp_path / "fresh"))
    np.testing.assert_array_equal(first, np.load(tmp_path / "fresh/short32-crop32-1of1/clips/0.mp4.npy"))


def test_complete_videos_are_not_extracted_again(
    make: Any, videos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make()
    seen: list[int] = []
    encode = TinyFeatures.encode_frames

    def count(self: TinyFeatures, frames: torch.Tensor) -> torch.Tensor:
        seen.append(frames.shape[2])
        return encode(self, frames)

    monkeypatch.setattr(TinyFeatures, "encode_frames", count)
    make()
    assert seen == []
    video = videos / "clips/2.mp4"
    os.utime(video)
    make()
    assert seen == [14], "the changed one"
    make(flips=True)
    assert sum(seen) == 14 + sum(10 + 2 * i for i in range(8)), "the mirror images alone"


def test_the_rate_leaves_out_complete_videos(
    make: Any, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make()
    os.utime(videos / "clips/2.mp4")
    counted: list[tuple[int, int]] = []

    def note(progress: Progress, n: int, *, found: int, frames: int) -> None:
        counted.append((n, found))
        progress.done += n + found

    monkeypatch.setattr(Progress, "update", note)
    make()
    assert tuple(map(sum, zip(*counted, strict=True))) == (1, 23)


def test_a_video_of_several_splits_is_extracted_by_one_thread(
    make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    encode = TinyFeatures.encode_frames

    def slowly(self: TinyFeatures, frames: torch.Tensor) -> torch.Tensor:
        time.sleep(0.05)
        return encode(self, frames)

    monkeypatch.setattr(TinyFeatures, "encode_frames", slowly)
    cfg = make("DATA_LOADER.NUM_WORKERS", 6, "DATA.FEATURES", str(tmp_path / "threads"))
    assert len(scores(cfg)) == 8


def test_a_stopped_extraction_continues_in_the_middle_of_a_video(
    make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(frame_encoder, "CHUNK_FRAMES", 4)
    make()
    complete = {path.name: path.read_bytes() for path in (tmp_path / "cache").rglob("*.npy")}
    encode, calls = TinyFeatures.encode_frames, []

    def interrupted(self: TinyFeatures, frames: torch.Tensor) -> torch.Tensor:
        calls.append(frames.shape[2])
        if len(calls) % 3 == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return encode(self, frames)

    monkeypatch.setattr(TinyFeatures, "encode_frames", interrupted)
    cache = tmp_path / "stopped"
    cfg = feature_config(
        Path(make().DATA.PATH_TO_DATA_DIR), tmp_path, "DATA.FEATURES", str(cache),
        "DATA.PATH_PREFIX", make().DATA.PATH_PREFIX,
    )  # fmt: skip
    while _is_stopped(cfg):
        pass
    assert {path.name: path.read_bytes() for path in cache.rglob("*.npy")} == complete
    assert sum(calls) == sum(10 + 2 * i for i in range(8)), "no frame was encoded twice"


def _is_stopped(cfg: CfgNode) -> bool:
    """Extracts until a signal comes; returns whether one came."""
    try:
        with Interrupt() as interrupt:
            extract_features(cfg, World(), interrupt, ExtractionRequest(dtype="float32"))
    except Interrupted:
        return True
    return False
