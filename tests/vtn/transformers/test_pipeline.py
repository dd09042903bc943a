"""``pipeline("video-classification")`` with a published folder: the scores of ``vtn.Predictor``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import pipeline

import vtn
from slowfast.errors import ConfigError, InputError
from slowfast.models.score_activations import SCORE_ACTIVATION_REGISTRY
from vtn.transformers import VTNForVideoClassification


def scores_by_pipeline(classify: Any, video: Path, names: list[str], **options: Any) -> np.ndarray:
    """Returns the scores in the order of the classes."""
    found = {entry["label"]: entry["score"] for entry in classify(str(video), top_k=len(names), **options)}
    return np.array([found[name] for name in names], np.float32)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("TEST.NUM_SPATIAL_CROPS", 3),
        ("TEST.NUM_SPATIAL_CROPS", 3, "MODEL.HEAD_ACT", "sigmoid"),
        ("TEST.NUM_SPATIAL_CROPS", 3, "MODEL.HEAD_ACT", "none"),
        ("TRAIN.EVAL_NUM_FRAMES", 5, "VTN.LONGFORMER.POSITION_RATE", 4.0),
        ("TRAIN.EVAL_FULL_VIDEO", False, "DATA.REVERSE_INPUT_CHANNEL", True),
    ],
    ids=["as trained", "crops", "crops, sigmoid", "crops, logits", "five frames, seconds", "clips, BGR"],
)
def test_scores_are_those_of_the_predictor(
    overrides: tuple[Any, ...], publish_model: Callable[..., Path], videos: dict[int, Path]
) -> None:
    folder = publish_model(*overrides)
    predictor = vtn.Predictor(folder, device="cpu")
    classify = pipeline("video-classification", model=str(folder), device="cpu")
    for video in videos.values():
        scores = scores_by_pipeline(classify, video, predictor.class_names)
        np.testing.assert_allclose(scores, predictor(video).scores, atol=1e-4)


@pytest.fixture
def squares(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a score activation as users register them."""
    monkeypatch.setattr(SCORE_ACTIVATION_REGISTRY, "_entries", dict(SCORE_ACTIVATION_REGISTRY._entries))
    SCORE_ACTIVATION_REGISTRY.register("squares")(lambda logits: logits.square().add(1))
    return "squares"


@pytest.mark.parametrize("num_crops", [1, 3])
def test_a_score_activation_of_the_user_is_the_only_one(
    squares: str, num_crops: int, publish_model: Callable[..., Path], videos: dict[int, Path]
) -> None:
    folder = publish_model("TEST.NUM_SPATIAL_CROPS", num_crops, "MODEL.HEAD_ACT", squares)
    predictor = vtn.Predictor(folder, device="cpu")
    classify = pipeline("video-classification", model=str(folder), device="cpu")
    scores = scores_by_pipeline(classify, videos[12], predictor.class_names)
    np.testing.assert_allclose(scores, predictor(videos[12]).scores, atol=1e-4)
    chosen = scores_by_pipeline(classify, videos[12], predictor.class_names, function_to_apply="none")
    np.testing.assert_allclose(chosen, scores)


def test_losses_and_training_need_logits(squares: str, publish_model: Callable[..., Path]) -> None:
    model = VTNForVideoClassification.from_pretrained(publish_model("MODEL.HEAD_ACT", squares))
    frames, labels = torch.zeros(2, 4, 3, 64, 64), torch.tensor([0, 2])
    expected = model.vtn(frames.transpose(1, 2))
    torch.testing.assert_close(model(frames, labels=labels).logits, expected)
    torch.testing.assert_close(model(frames).logits, expected.square() + 1)
    model.vtn.train = lambda mode=True: model.vtn  # dropout would change the logits
    torch.testing.assert_close(model.train()(frames).logits, expected)


def test_a_score_activation_that_is_not_registered_is_refused(
    squares: str, publish_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = VTNForVideoClassification.from_pretrained(publish_model("MODEL.HEAD_ACT", squares))
    entries = {"softmax": SCORE_ACTIVATION_REGISTRY.get("softmax")}
    monkeypatch.setattr(SCORE_ACTIVATION_REGISTRY, "_entries", entries)
    with pytest.raises(ConfigError, match=r"MODEL\.HEAD_ACT = 'squares': must be a registered"):
        model(torch.zeros(2, 4, 3, 64, 64))


def test_the_end_of_a_video_counts(published: Path, videos: dict[int, Path]) -> None:
    """The pipeline alone would give a model the first 16 frames."""
    classify = pipeline("video-classification", model=str(published), device="cpu")
    inputs = classify.video_processor(str(videos[70]))
    assert inputs["positions"][0, -1] >= 60
    spread = classify.video_processor(str(videos[70]), num_frames=8)
    assert spread["pixel_values_videos"].shape[1] == 8
    assert spread["positions"][0, -1] >= 60
    names = list(vtn.Predictor(published, device="cpu").class_names)
    few, all_frames = (scores_by_pipeline(classify, videos[70], names, num_frames=n) for n in (8, None))
    assert np.abs(few - all_frames).max() > 1e-4


def test_several_videos_have_their_top_k(published: Path, videos: dict[int, Path]) -> None:
    classify = pipeline("video-classification", model=str(published), device="cpu")
    results = classify([str(video) for video in videos.values()], top_k=2)
    assert [len(result) for result in results] == [2, 2, 2]


def test_nothing_is_reported_as_unsupported(published: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("transformers")
    propagates, logger.propagate = logger.propagate, True
    try:
        pipeline("video-classification", model=str(published), device="cpu")
    finally:
        logger.propagate = propagates
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_the_greatest_score_of_several_crops_is_not_a_mean(publish_model: Callable[..., Path]) -> None:
    folder = publish_model("TEST.NUM_SPATIAL_CROPS", 3, "DATA.ENSEMBLE_METHOD", "max")
    with pytest.raises(InputError, match=r"DATA\.ENSEMBLE_METHOD = max: .* use vtn\.Predictor"):
        vtn.transformers.VTNVideoProcessor.from_pretrained(folder)
