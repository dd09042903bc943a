"""``vtn predict --cfg``: the scores of one video are those of the test of the same configuration."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fvcore.common.config import CfgNode

from slowfast.checkpoint.weights import load_model_weights
from slowfast.distributed.world import World
from slowfast.engine.evaluator import build_evaluator
from slowfast.errors import InputError
from slowfast.interrupt import Interrupt
from slowfast.models.build import build_model
from slowfast.models.frame_format import adopt_frame_format
from tests.support.tiny import tiny_config
from tests.support.tiny_models import SMALL_VTN, trained_checkpoint
from tests.support.videos import write_csv, write_video
from vtn.cli.predict import main
from vtn.inference.prediction import Prediction
from vtn.predictor.single_video import PredictionRequest, predict_video

CLIPS = ("TRAIN.EVAL_FULL_VIDEO", False, "TEST.NUM_ENSEMBLE_VIEWS")
CROPS = "TEST.NUM_SPATIAL_CROPS"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``test.csv`` of wide and tall videos of 3 to 40 frames, whose crops differ."""
    folder = tmp_path_factory.mktemp("films")
    rng, listed = np.random.default_rng(0), []
    for frames, height, width in ((40, 48, 96), (21, 96, 48), (3, 48, 64)):
        images = list(rng.integers(0, 256, (frames, height // 8, width // 8, 3), np.uint8))
        large = [image.repeat(8, 0).repeat(8, 1) for image in images]
        listed.append((write_video(folder / f"{frames}.mp4", large, fps=10), 0))
    write_csv(folder / "test.csv", listed)
    return folder


def config(films: Path, output: Path, *changes: Any) -> CfgNode:
    frames = ("DATA.TARGET_FPS", 10, "DATA.TRAIN_JITTER_SCALES", [40, 44], "TRAIN.ENABLE", False)
    return tiny_config(films, output, *SMALL_VTN, *frames, *changes)


def predict(cfg: CfgNode, video: Path, **options: Any) -> Prediction:
    """Predicts a video with weights that are the same for all configurations."""
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(cfg.dump())
    weights = trained_checkpoint(cfg, folder)
    request = PredictionRequest(str(video), str(folder / "config.yaml"), str(weights), **options)
    return predict_video(request, Interrupt())


def scores_of_test(cfg: CfgNode) -> np.ndarray:
    """Returns the scores (V, K) of the engine's test with these weights."""
    model: Any = build_model(cfg, fetch_weights=False)
    load_model_weights(model, trained_checkpoint(cfg, Path(cfg.OUTPUT_DIR)))
    cfg = adopt_frame_format(cfg, model)
    evaluation = build_evaluator(cfg, "test", model.eval(), World(), Interrupt()).run()
    assert evaluation is not None
    return evaluation.scores


@pytest.mark.parametrize(
    ("changes", "merged"),
    [
        ((), None),
        ((CROPS, 3), {"clips": 1, "crops": 3}),
        ((CROPS, 2, "TRAIN.EVAL_NUM_FRAMES", 5), {"clips": 1, "crops": 2}),
        ((CROPS, 3, "DATA.ENSEMBLE_METHOD", "max"), {"clips": 1, "crops": 3}),
        ((*CLIPS, 4, CROPS, 3), {"clips": 4, "crops": 3}),
        ((*CLIPS, 2, "MODEL.HEAD_ACT", "none"), {"clips": 2, "crops": 1}),
        ((CROPS, 3, "DATA.REVERSE_INPUT_CHANNEL", True), {"clips": 1, "crops": 3}),
        ((*CLIPS, 2, CROPS, 3, "DATA.REVERSE_INPUT_CHANNEL", True), {"clips": 2, "crops": 3}),
        (
            (*CLIPS, 2, "DATA.REVERSE_INPUT_CHANNEL", True, "TRAIN.EVAL_STREAM_FRAMES", 3),
            {"clips": 2, "crops": 1},
        ),
    ],
)
def test_scores_are_those_of_the_test(
    changes: tuple[Any, ...], merged: dict[str, int] | None, films: Path, tmp_path: Path
) -> None:
    cfg = config(films, tmp_path / "run", *changes)
    predictions = [predict(cfg, films / f"{name}.mp4") for name in (40, 21, 3)]
    expected = scores_of_test(cfg)
    np.testing.assert_allclose([found.scores for found in predictions], expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.01, "the videos must have different scores"
    assert predictions[0].to_dict().get("merged") == merged


def test_the_log_and_the_terminal_say_what_is_merged(
    films: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = config(films, tmp_path / "run", *CLIPS, 4, CROPS, 3)
    with caplog.at_level(logging.INFO):
        text = predict(cfg, films / "40.mp4").describe()
    assert "the scores of 4 clips × 3 crops are merged" in caplog.text
    assert "16 frames scored in 4 clips × 3 crops" in text


def test_windows_are_of_the_middle_crop_and_say_so(
    films: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = config(films, tmp_path / "run", CROPS, 3)
    with caplog.at_level(logging.INFO):
        found = predict(cfg, films / "40.mp4", window_seconds=1.0, fps=10.0)
    assert "in the middle crop of the 3 that the test merges" in caplog.text
    assert "40 frames scored in the middle crop" in found.describe()
    assert found.to_dict()["crop"] == "middle"
    assert "merged" not in found.to_dict()
    assert np.abs(found.scores - predict(cfg, films / "40.mp4").scores).max() > 1e-3


def test_the_full_video_in_place_of_clips_is_of_the_middle_crop(films: Path, tmp_path: Path) -> None:
    cfg = config(films, tmp_path / "run", *CLIPS, 2, CROPS, 3)
    for options in ({"fps": 5.0}, {"window_seconds": 2.0}):
        assert predict(cfg, films / "40.mp4", **options).to_dict()["crop"] == "middle"


def test_another_frame_rate_merges_the_crops_as_well(films: Path, tmp_path: Path) -> None:
    cfg = config(films, tmp_path / "run", CROPS, 3)
    as_tested, slower = predict(cfg, films / "40.mp4", fps=10.0), predict(cfg, films / "40.mp4", fps=5.0)
    np.testing.assert_allclose(as_tested.scores, scores_of_test(cfg)[0], atol=1e-5)
    assert (slower.num_frames, slower.views.crops) == (20, 3)


def test_features_of_the_frames_of_the_test_are_not_taken_for_others(films: Path, tmp_path: Path) -> None:
    """Both choices have 20 frames of the video of 40."""
    cfg = config(films, tmp_path / "run", "TRAIN.EVAL_NUM_FRAMES", 20)
    video, features = films / "40.mp4", str(tmp_path / "f.npy")
    fresh = predict(cfg, video)
    predict(cfg, video, fps=5.0, features=features)
    np.testing.assert_allclose(predict(cfg, video, features=features).scores, fresh.scores, atol=1e-6)


def test_features_of_clips_are_not_kept(films: Path, tmp_path: Path) -> None:
    cfg = config(films, tmp_path / "run", *CLIPS, 2)
    with pytest.raises(InputError, match=r"--features .*f\.npy: the test of this configuration is of clips"):
        predict(cfg, films / "40.mp4", features=str(tmp_path / "f.npy"))
    assert predict(cfg, films / "40.mp4", features=str(tmp_path / "f.npy"), fps=5.0).num_frames == 20


def test_the_file_of_scores_says_what_is_merged(films: Path, tmp_path: Path) -> None:
    cfg = config(films, tmp_path / "run", CROPS, 3)
    predict(cfg, films / "3.mp4")
    (weights,) = (tmp_path / "run").rglob("*.pyth")
    scores = tmp_path / "scores.json"
    options = [f"--cfg={tmp_path}/run/config.yaml", f"--checkpoint={weights}", f"--output={scores}"]
    assert main([str(films / "3.mp4"), *options]) == 0
    (written,) = json.loads(scores.read_text())["videos"]
    assert written["merged"] == {"clips": 1, "crops": 3}
    names = sorted(path.name.split(".", 1)[1] for path in (tmp_path / "run" / "features").glob("3-*.npy"))
    assert names == ["crop0.npy", "crop1.npy", "crop2.npy"]
