"""Features of one video: the same as from its frames, also after an interruption or in damaged files."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from slowfast.datasets.loading.prefetch import Prefetch
from slowfast.errors import DecodeError, NotFiniteError
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.video.frame_scaler import FrameScaler
from slowfast.video.frame_table import scan
from slowfast.video.pyav_video import PyAVVideo
from tests.support.configs import make_config
from tests.support.inference.video import FRAMES, VIEW, features_at_once
from tests.support.processes import run_forked
from tests.support.tiny_models import FEATURE_DIM, tiny
from vtn import VTN, score_video, score_windows
from vtn.inference.extract import build_frame_view, extract_video_features


def interrupt_after(model: VTN, chunks: int) -> Interrupt:
    """Returns an interrupt that is requested while the backbone encodes chunk number ``chunks``."""
    interrupt = Interrupt()
    seen = 0

    def count(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == chunks:
            interrupt.signum = 2

    model.backbone.register_forward_hook(count)
    return interrupt


def test_features_of_a_file_equal_the_features_of_its_frames(video_path: Path, tmp_path: Path) -> None:
    model = tiny(chunk_frames=8)
    video = extract_video_features(model, video_path, VIEW, tmp_path / "f.npy")
    torch.testing.assert_close(video.features, features_at_once(model, video_path), atol=1e-5, rtol=0)
    assert video.indices.tolist() == list(range(0, FRAMES, 5))
    assert video.duration == pytest.approx(FRAMES / 25)
    np.testing.assert_allclose(video.times.seconds, np.arange(36) / 5, atol=1e-6)
    np.testing.assert_array_equal(np.load(tmp_path / "f.npy"), video.features)


def test_a_stopped_extraction_continues_after_the_last_chunk(
    video_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(chunk_frames=8)
    with pytest.raises(Interrupted, match=r"16 of 36 frames are in .*f\.npy"):
        extract_video_features(
            model, video_path, VIEW, tmp_path / "f.npy", interrupt=interrupt_after(model, 2)
        )
    assert np.load(tmp_path / "f.npy").shape == (16, FEATURE_DIM)

    asked: list[int] = []
    read_chunks = PyAVVideo.read_chunks

    def spy(video: PyAVVideo, indices: np.ndarray, *rest: Any) -> Iterator[np.ndarray]:
        asked.extend(indices.tolist())
        return read_chunks(video, indices, *rest)

    monkeypatch.setattr(PyAVVideo, "read_chunks", spy)
    model = tiny(chunk_frames=8)
    video = extract_video_features(model, video_path, VIEW, tmp_path / "f.npy")
    assert asked == list(range(80, FRAMES, 5))
    torch.testing.assert_close(video.features, features_at_once(model, video_path), atol=1e-5, rtol=0)

    asked.clear()
    again = extract_video_features(model, video_path, VIEW, tmp_path / "f.npy")
    assert asked == []
    assert torch.equal(again.features, video.features)


def stop_while_a_thread_decodes(path: str, features: str) -> None:
    """Encodes one chunk; that of the thread takes longer than the thread is waited for."""
    put, close, number = FrameScaler.put, Prefetch.close, 0

    def slow_put(scaler: FrameScaler, *rest: Any) -> None:
        nonlocal number
        number += 1
        if number > 8:
            time.sleep(0.1)
        put(scaler, *rest)

    with (
        patch.object(scan, "_KEEP_BYTES", 0),  # as for a large file, which is read again
        patch.object(FrameScaler, "put", slow_put),
        patch.object(Prefetch, "close", lambda prefetch: close(prefetch, timeout=0.15)),
    ):
        model = tiny(chunk_frames=8)
        with pytest.raises(Interrupted):
            extract_video_features(model, path, VIEW, features, interrupt=interrupt_after(model, 1))
        for thread in threading.enumerate():
            if thread.name == "prefetch":
                thread.join()


def test_a_thread_that_still_decodes_ends_with_its_video(video_path: Path, tmp_path: Path) -> None:
    assert run_forked(stop_while_a_thread_decodes, str(video_path), str(tmp_path / "f.npy")) == 0
    assert np.load(tmp_path / "f.npy").shape == (8, FEATURE_DIM)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("column", [0, 1])
def test_features_that_are_not_finite_are_an_error_of_the_model(
    video_path: Path, tmp_path: Path, value: float, column: int
) -> None:
    model = tiny(chunk_frames=8)
    calls = 0

    def spoil(module: Any, images: Any, features: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 2:
            features[3, column] = value
        return features

    model.backbone.register_forward_hook(spoil)
    with pytest.raises(NotFiniteError, match=r"video\.mp4: the model gives NaN .* frame 55 .* weights"):
        extract_video_features(model, video_path, VIEW, tmp_path / "f.npy")
    assert np.load(tmp_path / "f.npy").shape == (8, FEATURE_DIM)
    assert extract_video_features(model, video_path, VIEW, tmp_path / "f.npy").mask is None


def test_frames_that_cannot_be_decoded_are_left_out(
    damaged_video: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny(chunk_frames=8)
    with caplog.at_level(logging.WARNING):
        video = extract_video_features(model, damaged_video, VIEW, tmp_path / "f.npy")
    assert "14 of 36 frames cannot be decoded, the first of them is frame 50" in caplog.text
    assert video.mask is not None
    assert video.mask.tolist() == [not 50 <= index < 120 for index in range(0, FRAMES, 5)]
    assert video.features[video.mask].isfinite().all()

    decodable = video.mask[None]
    positions = video.positions(model.position_rate)[None]
    with torch.no_grad():
        expected = model.classify(video.features.nan_to_num()[None], positions, decodable)
    np.testing.assert_allclose(score_video(model, video), expected.softmax(-1)[0], atol=1e-6)

    timeline = score_windows(model, video, window_seconds=1.0, stride_seconds=1.0)
    assert np.flatnonzero(np.isnan(timeline.scores).any(axis=1)).tolist() == [2, 3]


def test_a_file_that_is_not_a_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("text")
    with pytest.raises(DecodeError, match="not a video"):
        extract_video_features(tiny(), tmp_path / "a.mp4", VIEW, tmp_path / "f.npy")


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("full_video", [False, True])
@pytest.mark.parametrize("crops", [1, 2, 3])
def test_frames_fill_the_crop_for_several_crops_of_full_videos_and_for_whole_pictures(
    crops: int, full_video: bool, whole: bool
) -> None:
    cfg = make_config(
        {
            "TEST.NUM_SPATIAL_CROPS": crops,
            "TRAIN.EVAL_FULL_VIDEO": full_video,
            "DATA.TEST_WHOLE_PICTURE": whole,
            "DATA.TEST_PICTURE_MULTIPLE": 4,
            "DATA.TRAIN_JITTER_SCALES": [40, 44],
            "DATA.TEST_CROP_SIZE": 32,
        },
        checked=False,
    )
    variant = build_frame_view(cfg, tiny()).variant
    assert variant.short_side == (32 if whole or (full_video and crops > 1) else 40)
    assert variant.picture_multiple == (4 if whole else 0)
