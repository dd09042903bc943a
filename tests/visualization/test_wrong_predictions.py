"""Filmstrips of wrong predictions, read back from TensorBoard's event files."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slowfast.config.check import check
from slowfast.engine.prediction_file import Predictions, load_predictions
from slowfast.engine.run import run
from slowfast.errors import DecodeError
from slowfast.visualization.filmstrip import cut_filmstrip
from slowfast.visualization.sections.mistakes import surest_mistakes, top_confusions
from slowfast.visualization.wrong_predictions import write_wrong_predictions
from tests.support.pages.predictions import make_predictions
from tests.support.tiny import tiny_config
from tests.support.tracking.readers import read_images
from tests.support.videos import write_video

NAMES = ["jump", "run", "swim"]
VIS = "TENSORBOARD.WRONG_PRED_VIS."


@pytest.fixture
def predictions(tmp_path: Path) -> Predictions:
    """Five videos of one grey each; the first is right, and the last cannot be decoded."""
    paths = []
    for number in range(4):
        frames = [np.full((48, 64, 3), 40 + 50 * number, np.uint8)] * 10
        paths.append(str(write_video(tmp_path / f"{number}.mp4", frames)))
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    scores = [[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.6, 0.1, 0.3], [0.0, 0.99, 0.01]]
    return make_predictions(scores, [0, 0, 0, 2, 0], NAMES, paths=[*paths, str(tmp_path / "broken.mp4")])


def test_each_wrong_prediction_is_a_filmstrip(
    predictions: Predictions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert write_wrong_predictions(predictions, tmp_path / "events", tag="Wrong", count=10) == 3
    images = read_images(tmp_path / "events")
    assert set(images) == {"Wrong/true jump/predicted run", "Wrong/true swim/predicted jump"}
    assert "broken.mp4" in caplog.text
    # The surer one comes first; each image shows its video's grey below the caption.
    greys = [np.asarray(image)[60, 20].mean() for image in images["Wrong/true jump/predicted run"]]
    assert greys == pytest.approx([140, 90], abs=6)
    caption = np.asarray(images["Wrong/true jump/predicted run"][0])[:20]
    assert caption.min() < 100
    assert caption.max() == 255


def test_classes_without_names_are_not_bare_numbers(predictions: Predictions, tmp_path: Path) -> None:
    unnamed = replace(predictions, class_names=["0", "1", "2"])
    write_wrong_predictions(unnamed, tmp_path / "events", tag="Wrong", count=10)
    assert set(read_images(tmp_path / "events")) == {
        "Wrong/true class 0/predicted class 1",
        "Wrong/true class 2/predicted class 0",
    }


def test_they_can_be_limited(
    predictions: Predictions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    classes = {"swim", "fly"}
    assert write_wrong_predictions(predictions, tmp_path / "a", tag="W", count=9, classes=classes) == 1
    assert list(read_images(tmp_path / "a")) == ["W/true swim/predicted jump"]
    assert "the first of them is 'fly'" in caplog.text
    assert write_wrong_predictions(predictions, tmp_path / "b", tag="W", count=1) == 1


def test_a_run_shows_what_its_test_predicts_wrongly(colour_videos: Path, tmp_path: Path) -> None:
    subset = tmp_path / "subset.txt"
    subset.write_text("1\n2\n")
    cfg = tiny_config(
        colour_videos, tmp_path, "SOLVER.MAX_EPOCH", 1, "SOLVER.BASE_LR", 1e-9, "TENSORBOARD.ENABLE", True,
        f"{VIS}ENABLE", True, f"{VIS}SUBSET_PATH", str(subset),
    )  # fmt: skip
    assert run(cfg) == 0
    predictions = load_predictions(tmp_path / "predictions.npz")
    wrong = (predictions.predicted != predictions.labels) & (predictions.labels > 0)
    assert wrong.any()
    found = read_images(tmp_path / "runs-kinetics")
    assert sum(map(len, found.values())) == wrong.sum()
    assert set(found) == {
        f"Incorrectly classified videos./true class {true}/predicted class {predicted}"
        for true, predicted in zip(predictions.labels[wrong], predictions.predicted[wrong], strict=True)
    }


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ((f"{VIS}SUBSET_PATH", "missing.txt"), f"{VIS}SUBSET_PATH = 'missing.txt': does not exist"),
        ((f"{VIS}TAG", ""), f"{VIS}TAG = '': must not be empty"),
    ],
)
def test_unsuitable_settings_are_found_before_the_run(
    changes: tuple[Any, ...], problem: str, colour_videos: Path, tmp_path: Path
) -> None:
    switches = ("TENSORBOARD.ENABLE", True, f"{VIS}ENABLE", True)
    (found,) = check(tiny_config(colour_videos, tmp_path, *switches, *changes), for_run=True)
    assert found.startswith(problem)


def test_a_filmstrip_of_a_segment_shows_its_frames_alone(tmp_path: Path) -> None:
    """Of ten frames per second, which become brighter."""
    frames = [np.full((48, 64, 3), 20 + 6 * t, np.uint8) for t in range(30)]
    path = str(write_video(tmp_path / "v.mp4", frames, fps=10))
    segments = np.array([[0.0, 1.0], [2.0, 2.5]])
    scores = [[0.9, 0.1], [0.8, 0.2]]
    predictions = make_predictions(scores, [1, 1], NAMES[:2], paths=[path, path], segments=segments)
    (confusion,) = top_confusions(predictions, strips=2)
    first, second = confusion.strips
    assert second.video.endswith("v.mp4, 2 to 2.5 s")
    assert (first.seconds[-1], second.seconds[0]) == pytest.approx((0.9, 2.0))
    grey = np.asarray(Image.open(io.BytesIO(second.image)))[40, 20].mean()
    assert grey == pytest.approx(20 + 6 * 20, abs=4)
    assert [mistake.name for mistake in surest_mistakes(predictions)] == [first.video, second.video]
    with pytest.raises(DecodeError, match="segment outside"):
        cut_filmstrip(path, 8, (9.0, 10.0))
