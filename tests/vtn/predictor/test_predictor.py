"""The predictor: the scores of the engine's test, every kind of video, results in order."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

import vtn
from slowfast.distributed.world import World
from slowfast.engine.prediction_file import Predictions, load_predictions
from slowfast.engine.test import run_test
from slowfast.errors import DecodeError, InputError
from slowfast.interrupt import Interrupt
from slowfast.video.decoding import decode
from tests.support.tiny_models import CLASS_NAMES
from tests.support.videos import write_video
from vtn import Predictor


def engine_scores(cfg: CfgNode, checkpoint: Path, **changes: Any) -> Predictions:
    """Tests the checkpoint by the engine and returns its predictions file."""
    changed = cfg.clone()
    changed.defrost()
    changed.merge_from_list(
        [part for key, value in changes.items() for part in (key.replace("__", "."), value)]
    )
    changed.TEST.ENABLE = True
    run_test(changed, World(), Interrupt(), trained=checkpoint)
    return load_predictions(Path(cfg.OUTPUT_DIR) / cfg.TEST.SAVE_RESULTS_PATH)


def paths_of(videos: Path) -> list[str]:
    return [line.rpartition(" ")[0] for line in (videos / "test.csv").read_text().splitlines()]


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("source", ["checkpoint", "published"])
def test_scores_are_those_of_the_engine(
    source: str, batch_size: int, cfg: CfgNode, checkpoint: Path, videos: Path, request: pytest.FixtureRequest
) -> None:
    expected = engine_scores(cfg, checkpoint, TEST__BATCH_SIZE=batch_size)
    predictor = Predictor(request.getfixturevalue(source), device="cpu", batch_size=batch_size)
    results = list(predictor.stream(paths_of(videos)))
    assert [result.video for result in results] == paths_of(videos)
    scored = [result for result in results if not result.error]
    assert np.array_equal(np.stack([result.scores for result in scored]), expected.scores)
    assert [number for number, result in enumerate(results) if result.error] == [
        video.video_id for video in expected.broken
    ]
    assert [result.num_frames for result in scored] == [1, 5, 12, 13, 20, 70]
    assert np.ptp(expected.scores, axis=0).max() > 0.01, "the videos must have different scores"


@pytest.mark.parametrize("crops", [1, 3])
def test_scores_of_several_views_are_those_of_the_engine(
    crops: int, cfg: CfgNode, checkpoint: Path, videos: Path
) -> None:
    changes = {
        "TRAIN__EVAL_FULL_VIDEO": False,
        "TEST__NUM_ENSEMBLE_VIEWS": 2,
        "TEST__NUM_SPATIAL_CROPS": crops,
        "TEST__BATCH_SIZE": 4,
    }
    expected = engine_scores(cfg, checkpoint, **changes)
    predictor = Predictor(checkpoint, device="cpu", views=(2, crops), batch_size=4)
    scored = [result for result in predictor.stream(paths_of(videos)) if not result.error]
    assert np.array_equal(np.stack([result.scores for result in scored]), expected.scores)


def test_the_results_of_a_video(published: Path, videos: Path) -> None:
    result = Predictor(published, device="cpu")(videos / "12.mp4")
    assert result.class_names == list(CLASS_NAMES)
    assert (result.seconds, result.num_frames, result.error) == (pytest.approx(1.2), 12, "")
    best = result.top(2)
    assert [score.score for score in best] == sorted(result.scores.tolist(), reverse=True)[:2]
    assert [score.label for score in best] == [CLASS_NAMES[score.index] for score in best]
    content = result.to_dict()
    assert content["scores"] == result.scores.tolist()
    assert content["top"][0] == {"class": best[0].label, "score": best[0].score}


def test_every_form_of_a_video_gives_the_same_scores(published: Path, videos: Path) -> None:
    """Frames in memory lose nothing where no scaling comes before the conversion to RGB."""
    predictor = Predictor(published, device="cpu")
    path = write_video(videos.parent / "square.mp4", 12, size=(32, 32), fps=10)
    expected = predictor(path).scores
    frames = decode(path)
    for video in (str(path), io.BytesIO(path.read_bytes()), frames, torch.from_numpy(frames)):
        assert np.array_equal(predictor(video).scores, expected)
    with path.open("rb") as file:
        assert np.array_equal(predictor(file).scores, expected)


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (np.zeros((4, 32, 32, 3), np.float32), "must be uint8 RGB"),
        (np.zeros((0, 32, 32, 3), np.uint8), "at least one frame"),
        (np.zeros((32, 32, 3), np.uint8), "must be uint8 RGB"),
        (io.StringIO("text"), "must be binary and seekable"),
        (7, "a video is a int: must be a path"),
        ("rtsp://127.0.0.1/stream", "has no end; follow it by `vtn predict --live`"),
    ],
)
def test_unsuitable_videos_are_refused(published: Path, video: Any, message: str) -> None:
    predictor = Predictor(published, device="cpu")
    with pytest.raises(InputError, match=message):
        predictor(video)
    (result,) = predictor.stream([video])
    assert message in result.error


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
    assert result.to_dict() == {"video": str(videos / "broken.mp4"), "error": result.error}


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


def test_calls_from_several_threads_give_the_same_scores(published: Path, videos: Path) -> None:
    predictor = Predictor(published, device="cpu")
    names = ["05.mp4", "12.mp4", "20.mp4", "70.mp4"] * 4
    expected = {name: predictor(videos / name, window_seconds=1).scores for name in set(names)}
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda name: predictor(videos / name, window_seconds=1), names))
    assert all(
        np.array_equal(result.scores, expected[name]) for name, result in zip(names, results, strict=True)
    )


def test_a_timeline(published: Path, videos: Path) -> None:
    predictor = Predictor(published, device="cpu", fps=10)
    result = predictor(videos / "70.mp4", window_seconds=2, stride_seconds=1)
    assert result.timeline is not None
    assert result.timeline.starts.tolist() == [0, 1, 2, 3, 4, 5]
    assert result.num_frames == 70
    frames = decode(videos / "70.mp4", size=32)[30:50]
    part = predictor(frames, frames_per_second=10)
    np.testing.assert_allclose(result.timeline.scores[3], part.scores, atol=1e-5)
    (streamed,) = predictor.stream([videos / "70.mp4"], window_seconds=2, stride_seconds=1)
    assert streamed.timeline is not None
    assert np.array_equal(streamed.timeline.scores, result.timeline.scores)
    assert len(streamed.to_dict()["windows"]) == 6


@pytest.mark.parametrize("lengths", [(0, None), (1, -1), (float("inf"), 1), (None, 1)])
def test_lengths_of_windows_must_be_above_0(published: Path, videos: Path, lengths: Any) -> None:
    predictor = Predictor(published, device="cpu")
    with pytest.raises(InputError, match=r"must be above 0|needs window_seconds"):
        predictor(videos / "70.mp4", window_seconds=lengths[0], stride_seconds=lengths[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "int8"}, "precision = 'int8': must be one of float32"),
        ({"views": (0, 1)}, "each 1 or more"),
        ({"views": (2, 1), "fps": 5.0}, "give one of the two"),
        ({"fps": -1.0}, "must be above 0"),
        ({"batch_size": 0}, "must be 1 or more"),
    ],
)
def test_unsuitable_arguments_are_refused(published: Path, arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Predictor(published, device="cpu", **arguments)


def test_a_lower_precision_changes_scores_little(published: Path, videos: Path) -> None:
    exact = Predictor(published, device="cpu")(videos / "12.mp4").scores
    lower = Predictor(published, device="cpu", precision="bfloat16")(videos / "12.mp4").scores
    assert not np.array_equal(lower, exact)
    np.testing.assert_allclose(lower, exact, atol=0.05)


def test_a_model_in_memory(published: Path, videos: Path) -> None:
    expected = Predictor(published, device="cpu")(videos / "12.mp4").scores
    model = vtn.create_model(published)
    assert np.array_equal(Predictor(model, device="cpu")(videos / "12.mp4").scores, expected)
    model.evaluation = {}
    with pytest.raises(InputError, match="does not come with the sampling of its frames"):
        Predictor(model)
