"""The predictor: every kind of video, results in order, and failures that end no other video."""

from __future__ import annotations

import errno
import io
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vtn
from slowfast.datasets.clip import normalize
from slowfast.datasets.views.streamed_view import StreamedView
from slowfast.errors import DecodeError, DeviceError, InputError
from slowfast.features.storage import FeatureFile
from slowfast.video.decoding import decode
from tests.support.broken_corpus import make_corpus
from tests.support.clips.backbone import TinyClips  # noqa: F401 (registers itself)
from tests.support.tiny_models import CLASS_NAMES
from tests.support.videos import overwrite_packets, write_video
from vtn import Predictor


def damaged_video(path: Path, first: int, end: int) -> Path:
    """Writes a video of 40 key frames, of which some are overwritten with zeros."""
    write_video(path, 40, size=(48, 48), codec="mjpeg", pix_fmt="yuvj420p", fps=10)
    return overwrite_packets(path, path, first, end)


@pytest.mark.parametrize("stream_frames", [32, 64])
def test_frames_that_cannot_be_decoded_are_left_out(
    stream_frames: int, published: Path, tmp_path: Path
) -> None:
    model = vtn.create_model(published)
    model.evaluation = {**model.evaluation, "TRAIN.EVAL_STREAM_FRAMES": stream_frames}
    predictor = Predictor(model, device="cpu")
    path = damaged_video(tmp_path / "damaged.avi", 10, 20)
    damaged = predictor(path)
    assert (damaged.num_frames, damaged.num_undecodable) == (30, 10)
    decodable = np.delete(np.arange(40), np.s_[10:20])
    with torch.no_grad():
        clip = torch.from_numpy(decode(path, indices=decodable, size=32)).permute(3, 0, 1, 2)[None]
        features = model.encode_frames(normalize(clip, model.frame_mean, model.frame_std))
        padded = features.new_zeros(1, 40, features.shape[-1])
        padded[:, decodable] = features
        mask = torch.zeros(1, 40, dtype=torch.bool)
        mask[:, decodable] = True
        expected = model.classify(padded, None, mask).softmax(-1)[0]
    np.testing.assert_allclose(damaged.scores, expected, atol=1e-5)
    (streamed,) = predictor.stream([path])
    assert np.array_equal(streamed.scores, damaged.scores)
    with pytest.raises(DecodeError, match="corrupt"):
        Predictor(published, device="cpu", views=(2, 1))(path)


def test_a_video_without_a_decodable_frame_fails(published: Path, tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"corrupt|not a video|no frame"):
        Predictor(published, device="cpu")(damaged_video(tmp_path / "damaged.avi", 0, 40))


def test_a_full_disk_of_temporary_files_is_named(
    published: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure was that of the video, ``unreadable (No space left on device)``."""

    def append(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FeatureFile, "append", append)
    (result,) = Predictor(published, device="cpu").stream([videos / "12.mp4"], window_seconds=1)
    assert result.error.startswith(f"the disk of {tempfile.gettempdir()} is too full for the features")


def test_a_model_without_finite_scores_fails_for_its_videos(published: Path, videos: Path) -> None:
    model = vtn.create_model(published)
    with torch.no_grad():
        model.mlp_head[-1].bias.fill_(torch.nan)
    (result,) = Predictor(model, device="cpu").stream([videos / "05.mp4"])
    assert "NaN or infinite" in result.error


def test_a_streamed_video_without_enough_memory_does_not_end_the_others(
    published: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(StreamedView, "chunks", full)
    predictor = Predictor(published, device="cpu")
    lost, scored = predictor.stream([videos / "70.mp4", videos / "05.mp4"])
    assert lost.error == "out of memory"
    assert not scored.error


def test_a_full_device_is_an_error_that_names_what_needs_less(
    published: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    predictor = Predictor(published)
    monkeypatch.setattr(predictor.model, "forward", full)
    with pytest.raises(DeviceError, match=r"is full.*; any of these needs less: a smaller batch_size"):
        predictor(videos / "12.mp4")


def test_a_video_has_scores_duration_and_best_classes(published: Path, videos: Path) -> None:
    result = Predictor(published, device="cpu")(videos / "12.mp4")
    assert result.class_names == list(CLASS_NAMES)
    assert (result.seconds, result.num_frames, result.error) == (pytest.approx(1.2), 12, "")
    best = result.top(2)
    assert [score.score for score in best] == sorted(result.scores.tolist(), reverse=True)[:2]
    assert [score.label for score in best] == [CLASS_NAMES[score.index] for score in best]
    with pytest.raises(InputError, match=r"= -1: must be 0 or more"):
        result.top(-1)
    content = result.to_dict()
    assert content["scores"] == result.scores.tolist()
    assert content["top"][0] == {"class": best[0].label, "score": best[0].score}


def test_every_form_of_a_video_gives_the_same_scores(published: Path, videos: Path) -> None:
    """Frames in memory lose nothing where no scaling comes before the conversion to RGB."""
    predictor = Predictor(published, device="cpu")
    path = write_video(videos.parent / "square.mp4", 12, size=(32, 32), fps=10)
    expected = predictor(path).scores
    frames = decode(path)
    (entry,) = (entry for entry in os.scandir(os.fsencode(path.parent)) if entry.name == b"square.mp4")
    for video in (str(path), entry, io.BytesIO(path.read_bytes()), frames, torch.from_numpy(frames)):
        assert np.array_equal(predictor(video).scores, expected)
    with path.open("rb") as file:
        assert np.array_equal(predictor(file).scores, expected)
    with pytest.raises(InputError, match="must be open"):
        predictor(file)


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (np.zeros((4, 32, 32, 3), np.float32), "must be uint8 RGB"),
        (np.zeros((0, 32, 32, 3), np.uint8), "at least one frame"),
        (np.zeros((4, 0, 32, 3), np.uint8), "at least one frame of one pixel"),
        (np.zeros((32, 32, 3), np.uint8), "must be uint8 RGB"),
        (torch.zeros(4, 32, 32, 3, dtype=torch.bfloat16), "dtype torch.bfloat16: must be uint8 RGB"),
        (io.StringIO("text"), "must be open, binary and seekable"),
        ("s3://me:geheim@bucket/a.mp4", "does not exist; an address begins with http"),
        ([np.zeros((8, 8, 3), np.uint8)], "a video is of type list: must be a path"),
        (b"RIFF", "io.BytesIO holds bytes"),
        (7, "Predictor.follow reads a camera"),
        ("rtsp://127.0.0.1/stream", "has no end; follow it by `vtn predict --live`"),
    ],
)
def test_unsuitable_videos_are_refused(published: Path, video: Any, message: str) -> None:
    predictor = Predictor(published, device="cpu")
    with pytest.raises(InputError, match=message):
        predictor(video)
    (result,) = predictor.stream([video])
    assert message in result.error


@pytest.mark.parametrize("given", ["video.mp4", 5, None])
def test_many_videos_are_not_one_path(published: Path, given: Any) -> None:
    with pytest.raises(InputError, match=r"for one path give \[path\]"):
        next(Predictor(published, device="cpu").stream(given))


def test_a_broken_video_is_an_exception_of_a_call_and_a_result_of_a_stream(
    published: Path, videos: Path
) -> None:
    predictor = Predictor(published, device="cpu")
    with pytest.raises(DecodeError, match="not a video"):
        predictor(videos / "broken.mp4")
    (result,) = predictor.stream([videos / "broken.mp4"])
    assert result.error.startswith("not a video")
    assert result.top() == []
    assert np.isnan(result.scores).all()
    assert result.to_dict() == {
        "video": str(videos / "broken.mp4"),
        "error": result.error,
        "reason": "not a video",
    }


def test_results_come_while_later_videos_are_still_unknown(published: Path, videos: Path) -> None:
    """A stream may have no end: no more videos are asked for than are decoded ahead."""
    asked = 0

    def endless() -> Any:
        nonlocal asked
        while True:
            asked += 1
            yield videos / "05.mp4"

    stream = Predictor(published, device="cpu", batch_size=2, workers=2).stream(endless())
    assert [next(stream).num_frames for _ in range(3)] == [5, 5, 5]
    stream.close()
    assert asked <= 3 + 2 + 2 + 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_a_timeline_has_the_scores_of_its_windows(published: Path, videos: Path) -> None:
    predictor = Predictor(published, device="cpu", fps=10)
    result = predictor(videos / "70.mp4", window_seconds=2, stride_seconds=1)
    assert result.timeline is not None
    assert result.timeline.starts.tolist() == [0, 1, 2, 3, 4, 5]
    assert result.num_frames == 70
    frames = decode(videos / "70.mp4", size=32)[30:50]
    part = predictor(frames, video_fps=10)
    np.testing.assert_allclose(result.timeline.scores[3], part.scores, atol=1e-5)
    (streamed,) = predictor.stream([videos / "70.mp4"], window_seconds=2, stride_seconds=1)
    assert streamed.timeline is not None
    assert np.array_equal(streamed.timeline.scores, result.timeline.scores)
    assert len(streamed.to_dict()["windows"]) == 6
    for lengths in ({"window_seconds": 0}, {"stride_seconds": 1}):
        with pytest.raises(InputError, match=r"must be above 0|needs window_seconds"):
            predictor(videos / "70.mp4", **lengths)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "int8"}, "precision = 'int8': must be one of float32"),
        ({"views": (0, 1)}, "each 1 or more"),
        ({"views": (2, 1), "fps": 5.0}, "give one of the two"),
        ({"fps": -1.0}, "must be above 0"),
        ({"batch_size": 0}, "must be 1 or more"),
        ({"batch_size": None}, "batch_size = None: must be 1 or more"),  # batches without a limit
        ({"precision": ["float32"]}, "precision = .*: must be one of float32"),
        ({"device": ["cpu"]}, "device = .* give cpu"),
        ({"device": "nowhere"}, "device = 'nowhere': .* give cpu"),
        ({"device": "cuda:99"}, "device = 'cuda:99': .* give cpu"),
    ],
)
def test_unsuitable_arguments_are_refused(published: Path, arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Predictor(published, **{"device": "cpu", **arguments})


def test_bfloat16_is_refused_where_the_device_emulates_it(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a T4 it would take longer than float32."""
    monkeypatch.setattr("slowfast.models.precision.supports_bfloat16", lambda device: False)
    with pytest.raises(InputError, match=r"^precision = 'bfloat16': must be another dtype .*use float16 or"):
        Predictor(published, device="cpu", precision="bfloat16")


def test_a_lower_precision_changes_scores_little(published: Path, videos: Path) -> None:
    exact = Predictor(published, device="cpu")(videos / "12.mp4").scores
    lower = Predictor(published, device="cpu", precision="bfloat16")(videos / "12.mp4").scores
    assert not np.array_equal(lower, exact)
    np.testing.assert_allclose(lower, exact, atol=0.05)


def test_a_file_whose_frames_have_no_size(published: Path, tmp_path: Path) -> None:
    """No black frame of that size can take the place of the ones that cannot be decoded."""
    path = tmp_path / "claims.gif"  # 65,535 × 65,535 pixels in a few bytes
    image = b"\x2c\0\0\0\0\xff\xff\xff\xff\0\x08\0\x3b"
    path.write_bytes(b"GIF89a\xff\xff\xff\xff\xf7\0\0" + bytes(768) + image)
    (result,) = Predictor(published, device="cpu").stream([path])
    assert result.error == "corrupt (its frames cannot be decoded and have no size)"


@pytest.mark.faults
def test_broken_odd_and_hostile_files_each_have_a_result(published: Path, tmp_path: Path) -> None:
    cases = make_corpus(tmp_path)
    predictor = Predictor(published, device="cpu")
    results = list(predictor.stream([case.path for case in cases.values()]))
    assert [result.video for result in results] == [case.path for case in cases.values()]
    for (name, case), result in zip(cases.items(), results, strict=True):
        assert bool(result.error) or np.isfinite(result.scores).all(), name
        assert "\n" not in result.error, name
        if not case.reasons:
            assert not result.error, f"{name}: {result.error}"
    failed = sum(bool(result.error) for result in results)
    assert 20 < failed < len(results) - 20
