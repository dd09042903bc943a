"""The predictor gives the scores of the engine's test, for each kind of model, view and source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fvcore.common.config import CfgNode

from slowfast.distributed.world import World
from slowfast.engine.prediction_file import Predictions, load_predictions
from slowfast.engine.testing.run import run_test
from slowfast.interrupt import Interrupt
from slowfast.tracking.trackers import Trackers
from tests.support.clips.backbone import TinyClips  # noqa: F401 (registers itself)
from tests.support.tiny_models import trained_checkpoint
from vtn import Predictor
from vtn.publishing.publish import publish


def engine_scores(cfg: CfgNode, checkpoint: Path, **changes: Any) -> Predictions:
    """Tests the checkpoint by the engine and returns its predictions file."""
    changed = cfg.clone()
    changed.defrost()
    changed.merge_from_list(
        [part for key, value in changes.items() for part in (key.replace("__", "."), value)]
    )
    changed.TEST.ENABLE = True
    run_test(changed, World(), Interrupt(), Trackers(), trained=checkpoint)
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


CLIPS = (
    *("VTN.BACKBONE.NAME", "tiny_clips", "VTN.BACKBONE.ARGS", {}, "VTN.BACKBONE.FROZEN", True),
    *("VTN.LONGFORMER.POSITION", "sinusoidal", "VTN.LONGFORMER.POSITION_UNIT", "second"),
)


@pytest.mark.parametrize(
    "changes",
    [
        CLIPS,
        (*CLIPS, "DATA.TEST_WHOLE_PICTURE", True),
        ("DATA.REVERSE_INPUT_CHANNEL", True, "MODEL.HEAD_ACT", "sigmoid"),
        ("TRAIN.EVAL_NUM_FRAMES", 6, "DATA.MEAN", [0.3, 0.4, 0.5], "TEST.NUM_SPATIAL_CROPS", 3),
        ("MODEL.MODEL_NAME", "FrameAverage"),
    ],
    ids=["clips", "whole pictures", "channels", "crops", "average"],
)
def test_scores_of_other_models_and_frames_are_those_of_the_engine(
    changes: tuple[Any, ...], cfg: CfgNode, videos: Path, tmp_path: Path
) -> None:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = str(tmp_path)
    for key, value in zip(changes[::2], changes[1::2], strict=True):
        if key == "VTN.BACKBONE.ARGS":
            cfg.VTN.BACKBONE.ARGS.clear()
        else:
            cfg.merge_from_list([key, value])
    checkpoint = trained_checkpoint(cfg, tmp_path)
    expected = engine_scores(cfg, checkpoint)
    folder = publish(checkpoint, tmp_path / "published").folder
    assert folder is not None
    for source in (checkpoint, folder):
        predictor = Predictor(source, device="cpu", batch_size=cfg.TEST.BATCH_SIZE)
        scored = [result for result in predictor.stream(paths_of(videos)) if not result.error]
        assert np.array_equal(np.stack([result.scores for result in scored]), expected.scores)
        if "TEST.NUM_SPATIAL_CROPS" not in changes:  # windows have one crop
            predictor = Predictor(source, device="cpu", fps=10)
            windows = predictor(videos / "70.mp4", window_seconds=100)
            np.testing.assert_allclose(windows.scores, predictor(videos / "70.mp4").scores, atol=1e-5)
            assert windows.timeline is not None
            assert np.array_equal(windows.timeline.scores[0], windows.scores)
