"""Explanations of all kinds of models: other heads, several tokens per frame, convolutions, clip encoders.

T frames or time steps.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slowfast.errors import InputError
from tests.support.clips.backbone import SIZE, TUBELET
from tests.support.tiny import tiny_config
from tests.support.tiny_models import SMALL_VTN, trained_checkpoint
from tests.support.videos import write_video
from vtn import Predictor
from vtn.explaining.explanation import Explanation, rankings
from vtn.explaining.page.write import render_page
from vtn.explaining.video import ExplanationRequest

CLIPS = (
    "VTN.BACKBONE.NAME", "tiny_clips", "VTN.BACKBONE.ARGS", {}, "DATA.TRAIN_JITTER_SCALES", [SIZE, SIZE],
    "DATA.TRAIN_CROP_SIZE", SIZE, "DATA.TEST_CROP_SIZE", SIZE,
)  # fmt: skip


def predictor(videos: Path, folder: Path, *changes: Any) -> Predictor:
    cfg = tiny_config(videos, folder, *SMALL_VTN, "TRAIN.ENABLE", False, "DATA.TARGET_FPS", 10, *changes)
    return Predictor(trained_checkpoint(cfg, folder), device="cpu")


def explain(model: Predictor, video: Path) -> tuple[Explanation, str]:
    """Returns an explanation, after :func:`check`, and its page."""
    explanation = model.explain(video)
    return explanation, check(explanation, model(video).scores)


def check(explanation: Explanation, expected: np.ndarray) -> str:
    """Asserts that the explanation is of the prediction and finite, and returns the page."""
    np.testing.assert_allclose(explanation.prediction.scores, expected, atol=1e-5)
    ranked = rankings(explanation.occlusion, explanation.gradient, explanation.attention)
    for values in ranked.values():
        assert values.shape == explanation.seconds.shape
        assert np.isfinite(values).all()
    assert np.ptp(explanation.occlusion.evidence) > 0
    return render_page(explanation)


def test_frames_that_cannot_be_decoded(videos: Path, tmp_path: Path) -> None:
    """Their places stay, without values and pictures; the page names their number."""
    content = bytearray(write_video(tmp_path / "whole.mp4", 60, gop=10).read_bytes())
    for place in range(int(0.45 * len(content)), int(0.6 * len(content))):
        content[place] = place * 37 % 256
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    explanation = predictor(videos, tmp_path).explain(path)
    page = check(explanation, explanation.prediction.scores)
    lost = ~explanation.decoded
    assert 0 < lost.sum() < 60
    assert not explanation.occlusion.evidence[lost].any()
    assert explanation.attention is not None
    assert not explanation.attention.layers[..., lost].any()
    assert not set(np.flatnonzero(lost).tolist()) & set(explanation.pictures.jpegs)
    assert f"{lost.sum()} frames cannot be decoded and are left out." in page


@pytest.mark.parametrize("name", ["FrameAverage", "AttentiveProbe"])
def test_models_without_cls_have_no_attention(name: str, videos: Path, tmp_path: Path) -> None:
    model = predictor(videos, tmp_path, "MODEL.MODEL_NAME", name, "VTN.PROBE.NUM_HEADS", 1)
    explanation, page = explain(model, videos / "13.mp4")
    assert explanation.attention is None
    assert set(explanation.faithfulness) == {"occlusion", "gradient", "random"}
    assert "Attention of [CLS]" not in page
    assert f"{name} " in explanation.notes[0]


def test_several_tokens_per_frame_are_explained(videos: Path, tmp_path: Path) -> None:
    model = predictor(
        *(videos, tmp_path, "VTN.BACKBONE.NAME", "test_resnet", "VTN.BACKBONE.ARGS", {}),
        *("VTN.BACKBONE.TOKENS", [2, 2], "VTN.BACKBONE.STAGE", 2, "VTN.FUSION", "sequence"),
    )
    # There is a class for which some frame speaks.
    requests = [ExplanationRequest(label=label) for label in range(3)]
    every = [model.explain(videos / "13.mp4", request=request) for request in requests]
    explanation = max(every, key=lambda found: len(found.top))
    check(explanation, model(videos / "13.mp4").scores)
    assert list(explanation.regions.maps) == ["Grad-CAM", "token attention"]
    for maps in explanation.regions.maps.values():
        assert len(maps) == len(explanation.top)
        assert maps.min() >= 0
        assert maps.max() == pytest.approx(1.0)


def test_clip_encoders_are_explained_by_time_steps(videos: Path, tmp_path: Path) -> None:
    explanation, _ = explain(predictor(videos, tmp_path, *CLIPS), videos / "24.mp4")
    assert len(explanation.seconds) == 24 // TUBELET
    assert "clips of several frames" in explanation.regions.note
    assert any("time step" in note for note in explanation.notes)


def test_statistics_that_attention_does_not_show(videos: Path, tmp_path: Path) -> None:
    model = predictor(videos, tmp_path, "VTN.HEAD.POOLING", "cls+mean+std", "VTN.HEAD.SKIP", True)
    explanation, _ = explain(model, videos / "13.mp4")
    assert len(explanation.notes) == 2


def test_a_missing_package_is_named_before_work_starts(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "vtn.explaining.regions.build.find_spec", lambda name: None if name == "captum" else find_spec(name)
    )
    model = predictor(videos, tmp_path, "VTN.BACKBONE.NAME", "test_resnet", "VTN.BACKBONE.ARGS", {})
    monkeypatch.setattr("vtn.explaining.video.measure_influence", None)  # not reached
    with pytest.raises(InputError, match=r"need the package captum: pip install 'slowfast-vtn\[explain\]'"):
        model.explain(videos / "13.mp4")
