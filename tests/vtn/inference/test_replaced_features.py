"""Features in a file that were computed from another video, or in another way, are replaced."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slowfast.features.cache import Variant
from slowfast.models.weights_hash import weights_hash
from tests.support.inference.video import VIEW, features_at_once
from tests.support.tiny_models import CLASSES, tiny, with_large_weights
from vtn import FrameAverage, score_video
from vtn.inference.extract import FrameView, extract_video_features

VIT = {"img_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}


def tiny_vit(**changes: Any) -> FrameAverage:
    arguments: dict[str, Any] = {"num_classes": CLASSES, "mlp_dim": 16, "backbone_args": VIT, **changes}
    return with_large_weights(FrameAverage("vit_tiny_patch16_224", pretrained=False, **arguments))


@pytest.mark.parametrize("changed", ["fps", "weights", "video"])
def test_features_of_another_source_are_replaced(
    video_path: Path, tmp_path: Path, changed: str, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "video.mp4"
    copy.write_bytes(video_path.read_bytes())
    model, view = tiny(), VIEW
    extract_video_features(model, copy, view, tmp_path / "f.npy")
    if changed == "fps":
        view = FrameView(2.5, VIEW.variant, VIEW.normalization)
    elif changed == "weights":
        with torch.no_grad():
            model.backbone.project.bias.add_(1)
    else:
        os.utime(copy, ns=(0, 0))
    with caplog.at_level(logging.WARNING):
        video = extract_video_features(model, copy, view, tmp_path / "f.npy")
    assert "is replaced" in caplog.text
    if changed == "weights":
        torch.testing.assert_close(video.features, features_at_once(model, video_path), atol=1e-5, rtol=0)
    assert len(video.features) == (18 if changed == "fps" else 36)


@pytest.mark.parametrize(
    ("before", "after", "logged"),
    [
        ({}, {"pooling": "mean"}, "mean"),
        ({"frozen": True}, {"frozen": True, "frozen_dtype": "bfloat16"}, "bfloat16"),
        (
            {"lora": {"rank": 2, "alpha": 2.0, "targets": ["qkv"]}},
            {"lora": {"rank": 2, "alpha": 8.0, "targets": ["qkv"]}},
            "alpha 8",
        ),
        ({}, {"backbone_args": {**VIT, "act_layer": "relu"}}, "relu"),
    ],
    ids=["pooling", "frozen dtype", "lora", "options"],
)
def test_features_of_the_same_weights_with_other_settings_are_replaced(
    video_path: Path,
    tmp_path: Path,
    before: dict[str, Any],
    after: dict[str, Any],
    logged: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Both models have the same class and weights."""
    if "lora" in before:
        pytest.importorskip("peft", reason="peft is not installed; it is in the extra 'lora'")
    assert weights_hash(tiny_vit(**before).backbone) == weights_hash(tiny_vit(**after).backbone)
    extract_video_features(tiny_vit(**before), video_path, VIEW, tmp_path / "f.npy")
    with caplog.at_level(logging.WARNING):
        extract_video_features(tiny_vit(**before), video_path, VIEW, tmp_path / "f.npy")
        assert "is replaced" not in caplog.text
        extract_video_features(tiny_vit(**after), video_path, VIEW, tmp_path / "f.npy")
    assert "is replaced" in caplog.text
    assert logged in caplog.text


def test_features_computed_in_another_dtype_are_replaced(
    video_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extract_video_features(tiny(), video_path, VIEW, tmp_path / "f.npy")
    model = tiny().prepare_inference(torch.bfloat16)
    with caplog.at_level(logging.WARNING):
        extract_video_features(model, video_path, VIEW, tmp_path / "f.npy")
    assert "is replaced" in caplog.text


def test_an_earlier_result_stays_valid_when_its_file_is_replaced(video_path: Path, tmp_path: Path) -> None:
    model, path = tiny(), tmp_path / "f.npy"
    dense = extract_video_features(model, video_path, VIEW, path)
    values, scores = dense.features.clone(), score_video(model, dense)
    # The same number of rows, so that a truncated file would show in the values and not kill the process.
    other = extract_video_features(
        model, video_path, FrameView(5.0, Variant(20, 16), VIEW.normalization), path
    )
    assert not torch.equal(other.features, values)
    assert torch.equal(dense.features, values)
    np.testing.assert_array_equal(score_video(model, dense), scores)
