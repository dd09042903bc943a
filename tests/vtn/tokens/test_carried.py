"""Several tokens per frame in configurations, caches, streams, windows, predictions and published folders.

T frames, M tokens of a frame, F width of a token.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast.datasets.build import build_dataset
from slowfast.datasets.clip import Normalization
from slowfast.distributed.world import World
from slowfast.engine.run import run
from slowfast.errors import ConfigError, DataError, InputError
from slowfast.extraction.extract import ExtractionRequest, extract_features
from slowfast.features.batch import FeatureClip
from slowfast.features.cache import Manifest, Variant
from slowfast.features.storage import FeatureFile
from slowfast.interrupt import Interrupt
from slowfast.models.complexity import clip_complexity
from slowfast.video.frame_times import FrameTimes
from tests.support.tiny_models import (
    CLASSES,
    TINY,
    scores_of_test_split,
    small_run_config,
    with_large_weights,
)
from tests.support.videos import write_csv, write_video
from vtn import VTN, FrameAverage, VideoFeatures, VideoStream, create_model, score_video, score_windows
from vtn.inference.extract import FrameView, extract_video_features

SIZE = 32
BACKBONE = {"tokens": (2, 2), "backbone_args": {"image_size": SIZE, "width": 4, "feature_dim": 24}}
KINDS = ("concat", "attend", "sequence")


def tiny_tokens(**changes: Any) -> VTN:
    """Returns a VTN with 2 × 2 tokens of width 16 per frame of 32 pixels."""
    return with_large_weights(
        VTN("shallow_conv", **{**TINY, **BACKBONE, "position": "sinusoidal", **changes})
    )


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (21, SIZE, SIZE, 3), np.uint8)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2), ("test", 3)):
        videos = []
        for i in range(count):
            images = [rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8) for _ in range(9 + i)]
            videos.append((write_video(tmp_path / f"{split}{i}.mp4", images, fps=5), i % 3))
        write_csv(tmp_path / f"{split}.csv", videos)
    return tmp_path


def config(data: Path, output: Path, *changes: Any) -> CfgNode:
    tokens = ("VTN.BACKBONE.TOKENS", [2, 2], "VTN.BACKBONE.CLASS_TOKEN", True)
    return small_run_config(data, output, SIZE, *tokens, *changes)


@pytest.mark.parametrize(("model", "kind"), [*(("VTN", kind) for kind in KINDS), ("FrameAverage", "concat")])
def test_scores_from_the_cache_equal_the_scores_from_frames(
    data: Path, tmp_path: Path, model: str, kind: str
) -> None:
    changes = ("MODEL.MODEL_NAME", model, "VTN.FUSION", kind)
    cfg = config(data, tmp_path, *changes, "DATA.FEATURES", tmp_path / "cache")
    extract_features(cfg, World(), Interrupt(), ExtractionRequest(dtype="float32"))
    (stored,) = (tmp_path / "cache").glob("short*/test0.mp4.npy")
    assert np.load(stored).shape == (9, 5, 64)  # (T, M, F)
    assert Manifest.read(tmp_path / "cache").num_tokens == 5
    np.testing.assert_allclose(
        scores_of_test_split(cfg), scores_of_test_split(config(data, tmp_path, *changes)), atol=1e-4
    )


def test_a_run_on_cached_tokens_trains_and_tests(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = config(data, tmp_path / "run", "DATA.FEATURES", tmp_path / "cache", "LOG_MODEL_INFO", True)
    with caplog.at_level(logging.INFO):
        extract_features(cfg, World(), Interrupt(), ExtractionRequest())
    assert "features: 5 × 64 float16 per frame and crop, 640 bytes; about" in caplog.text
    assert run(cfg) == 0
    assert "VTN.BACKBONE.TOKENS" not in caplog.text


def test_a_cache_of_other_tokens_is_refused(data: Path, tmp_path: Path) -> None:
    cfg = config(data, tmp_path, "DATA.FEATURES", tmp_path / "cache")
    extract_features(cfg, World(), Interrupt(), ExtractionRequest())
    other = config(data, tmp_path, "DATA.FEATURES", tmp_path / "cache", "VTN.BACKBONE.TOKENS", [1, 2])
    with pytest.raises(ConfigError, match="tokens: the cache has 2 × 2, class token, needed is 1 × 2"):
        extract_features(other, World(), Interrupt(), ExtractionRequest())
    with pytest.raises(ConfigError, match="tokens: the cache has 2 × 2, class token, needed is 1 × 2"):
        scores_of_test_split(other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("VTN.BACKBONE.TOKENS", [3]), r"VTN.BACKBONE.TOKENS .*= \[3\]: must be rows and columns"),
        (("VTN.BACKBONE.TOKENS", [0, 3]), "must be rows and columns"),
        (("VTN.BACKBONE.POOLING", "mean"), "VTN.BACKBONE.POOLING .*= 'mean': must be ''"),
        (("VTN.FUSION", "mean"), "VTN.FUSION .*= 'mean': must be one of concat, attend, sequence"),
        (
            ("VTN.FUSION", "sequence", "MODEL.MODEL_NAME", "FrameAverage"),
            "must be concat or attend for FrameAverage",
        ),
    ],
)
def test_wrong_keys_are_reported_with_the_remedy(tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, tmp_path, *changes)


def test_a_map_smaller_than_the_grid_is_refused_before_any_video_is_opened(
    data: Path, tmp_path: Path
) -> None:
    cfg = config(data, tmp_path, "VTN.BACKBONE.TOKENS", [3, 3])
    with pytest.raises(ConfigError, match=r"TEST_CROP_SIZE = 32.*must be at most \[2, 2\].*32×32 pixels"):
        extract_features(cfg, World(), Interrupt(), ExtractionRequest())


def test_feature_files_of_other_programs_may_have_tokens(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(4):
        np.save(tmp_path / f"{number}.npy", generator.normal(size=(30, 4, 24)).astype(np.float16))
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.csv").write_text("".join(f"{number} {number % 2}\n" for number in range(4)))
    changes = (
        "TRAIN.DATASET", "features", "TEST.DATASET", "features", "DATA.PATH_PREFIX", tmp_path,
        "DATA.FEATURES_FPS", 5, "VTN.BACKBONE.NAME", "precomputed", "VTN.BACKBONE.ARGS", {"feature_dim": 24},
        "VTN.BACKBONE.CLASS_TOKEN", False, "DATA.TARGET_FPS", 5,
    )  # fmt: skip
    cfg = config(tmp_path, tmp_path / "run", *changes)
    assert scores_of_test_split(cfg).shape == (4, 3)
    with pytest.raises(DataError, match=r"rows of shape \(4, 24\), and the model takes \(9, 24\)"):
        build_dataset(cfg, "test", feature_shape=(9, 24))


def test_clips_of_tokens_are_padded_and_masked() -> None:
    clips = [FeatureClip(torch.ones(T, 4, 3), torch.arange(T), 0, T) for T in (2, 5)]
    batch = FeatureClip.collate(clips)
    assert batch.features.shape == (2, 5, 4, 3)
    assert batch.mask is not None
    assert (batch.features[~batch.mask] == 0).all()
    assert batch.mask.sum(1).tolist() == [2, 5]


def test_a_feature_file_of_tokens_continues_after_an_interruption(tmp_path: Path) -> None:
    rows = torch.randn(7, 4, 3)
    for chunk in (rows[:3], rows[3:]):
        with FeatureFile(tmp_path / "a.npy", (4, 3), {"video": "a"}) as file:
            file.append(chunk)
            assert torch.equal(file.features(), rows[: file.count])
    with FeatureFile(tmp_path / "a.npy", (12,), {"video": "a"}) as file:
        assert file.count == 0  # rows of another shape are not continued


@pytest.mark.parametrize("kind", KINDS)
def test_streams_and_windows_equal_the_whole_video(kind: str, frames: np.ndarray) -> None:
    model = tiny_tokens(fusion=kind, chunk_frames=4)
    clip = torch.from_numpy(frames).permute(3, 0, 1, 2)[None] / 255
    mean, std = (torch.tensor(v)[:, None, None, None] for v in (model.frame_mean, model.frame_std))
    with torch.no_grad():
        features = model.encode_frames((clip - mean) / std)[0]
        expected = model.classify(features[None]).softmax(1)[0].numpy()
    assert features.shape == (21, 4, 16)
    stream = VideoStream(model)
    for first in range(0, 21, 5):
        part = frames[first : first + 5]
        stream.push(part, (first + np.arange(len(part))) / 5)
    np.testing.assert_allclose(stream.scores(), expected, atol=1e-5)
    pushed = VideoStream(model)
    pushed.push_features(features[0], 0.0)
    pushed.push_features(features[1:], np.arange(1, 21) / 5)
    np.testing.assert_allclose(pushed.scores(), expected, atol=1e-5)
    with pytest.raises(InputError, match=r"must be \(frames, 4, 16\)"):
        pushed.push_features(features[:, 0], np.arange(21) + 10)
    video = VideoFeatures(features, FrameTimes(np.arange(21) / 5, 4.2), np.arange(21))
    timeline = score_windows(model, video, 2.0, 1.0)
    np.testing.assert_allclose(timeline.scores[1], score_video(model, video.part(1.0, 3.0)), atol=1e-5)


def test_features_of_a_video_file_are_the_same_in_chunks(tmp_path: Path, frames: np.ndarray) -> None:
    path = write_video(tmp_path / "a.mp4", list(frames), fps=5)
    model = tiny_tokens(chunk_frames=4)
    view = FrameView(5.0, Variant(SIZE, SIZE), Normalization(model.frame_mean, model.frame_std))
    video = extract_video_features(model, path, view, tmp_path / "a.npy")
    assert video.features.shape == (21, 4, 16)
    model.chunk_frames = 0
    again = extract_video_features(model, path, view, tmp_path / "b.npy")
    torch.testing.assert_close(video.features, again.features, atol=1e-5, rtol=1e-5)


def test_masked_frames_do_not_pass_the_backbone() -> None:
    model = tiny_tokens()
    clips = torch.randn(2, 3, 5, SIZE, SIZE)
    mask = torch.tensor([[True] * 5, [True, False, True, False, False]])
    features = model.encode_frames(clips, mask)
    torch.testing.assert_close(features[mask], model.encode_frames(clips)[mask])
    assert (features[~mask] == 0).all()


@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_trained_backbone_learns_through_its_map(checkpointed: bool) -> None:
    model = tiny_tokens(act_checkpoint=checkpointed).train()
    model(torch.randn(1, 3, 4, SIZE, SIZE)).sum().backward()
    learning = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert all(weight.grad is not None for weight in learning.values())
    assert "backbone.stages.0.weight" in learning
    assert "backbone.project.weight" not in learning  # it comes after the map


@pytest.mark.parametrize("kind", KINDS)
def test_a_published_folder_gives_the_same_model(kind: str, tmp_path: Path) -> None:
    model = tiny_tokens(fusion=kind)
    model.save_pretrained(tmp_path)
    tokens = torch.randn(2, 6, 4, 16)
    for loaded in (VTN.from_pretrained(tmp_path), create_model(tmp_path)):
        assert loaded.arguments == model.arguments.without_weights()
        assert torch.equal(loaded.classify(tokens), model.classify(tokens))
    average: Any = FrameAverage("shallow_conv", num_classes=CLASSES, **BACKBONE).eval()
    average.save_pretrained(tmp_path / "average")
    assert torch.equal(
        FrameAverage.from_pretrained(tmp_path / "average").classify(tokens), average.classify(tokens)
    )


def test_folders_without_the_new_arguments_have_one_token(tmp_path: Path) -> None:
    model = with_large_weights(VTN("shallow_conv", **TINY))
    model.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    del content["fusion"]
    for name in ("tokens", "class_token", "stage"):
        del content["backbone"][name]
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert VTN.from_pretrained(tmp_path).arguments == model.arguments.without_weights()


def test_multiply_adds_of_a_sequence_grow_with_its_tokens() -> None:
    macs = {
        kind: clip_complexity(tiny_tokens(fusion=kind), 64, SIZE).modules["temporal_encoder"].total
        for kind in ("concat", "sequence")
    }
    assert 3 < macs["sequence"] / macs["concat"] < 6


def test_packed_weights_for_inference_give_the_same_logits() -> None:
    for kind in KINDS:
        model = tiny_tokens(fusion=kind)
        tokens = torch.randn(2, 300, 4, 16)
        with torch.no_grad():
            expected = model.classify(tokens)
            torch.testing.assert_close(
                model.prepare_inference().classify(tokens), expected, atol=1e-4, rtol=1e-4
            )
