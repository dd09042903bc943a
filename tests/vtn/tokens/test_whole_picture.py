"""VTN tested on whole pictures: tokens keep their places; caches and predictions see the same pictures.

T frames, M tokens of a frame, F width of a token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from torch import nn

from slowfast.datasets.build import build_dataset
from slowfast.datasets.clip import normalize
from slowfast.datasets.loading.samplers import SampleRef
from slowfast.datasets.views.spatial import whole_picture
from slowfast.distributed.world import World
from slowfast.engine.run import run
from slowfast.engine.run_model import build_seeded_model
from slowfast.errors import ConfigError
from slowfast.extraction.extract import ExtractionRequest, extract_features
from slowfast.features.batch import FeatureClip
from slowfast.features.cache import Manifest, Variant
from slowfast.interrupt import Interrupt
from slowfast.models.frame_format import adopt_frame_format
from slowfast.video.decoding import open_video
from tests.support.clips import backbone as clip_backbone  # noqa: F401 (registers tiny_clips)
from tests.support.tiny_models import scores_of_test_split, small_run_config
from tests.support.videos import write_csv, write_video
from vtn import VTN
from vtn.predictor.single_video import PredictionRequest, predict_video

SIZE = 64
CONVOLUTIONAL = ("VTN.BACKBONE.NAME", "test_efficientnet", "VTN.BACKBONE.ARGS", {})
TRANSFORMER = (
    "VTN.BACKBONE.NAME",
    "test_vit",
    "VTN.BACKBONE.ARGS",
    {"img_size": SIZE, "dynamic_img_size": True},
)

CLIPS = (
    "VTN.BACKBONE.NAME", "tiny_clips", "VTN.BACKBONE.ARGS", {}, "VTN.LONGFORMER.POSITION", "sinusoidal",
    "VTN.LONGFORMER.POSITION_UNIT", "second", "DATA.NUM_FRAMES", 0, "DATA.SAMPLING_RATE", 0,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of noise: square, wide and tall."""
    folder = tmp_path_factory.mktemp("wide")
    rng = np.random.default_rng(0)
    sizes = ((64, 64), (64, 112), (96, 64), (64, 160))
    for split, count in (("train", 4), ("val", 2), ("test", 6)):
        listed = []
        for i in range(count):
            images = [rng.integers(0, 256, (*sizes[i % 4], 3), np.uint8) for _ in range(6 + i)]
            listed.append((write_video(folder / f"{split}{i}.mp4", images, fps=5), i % 3))
        write_csv(folder / f"{split}.csv", listed)
    return folder


def config(data: Path, output: Path, *changes: Any) -> CfgNode:
    pictures = (
        "VTN.BACKBONE.TOKENS", [2, 2], *CONVOLUTIONAL, "TEST.BATCH_SIZE", 6, "DATA.TEST_WHOLE_PICTURE", True
    )  # fmt: skip
    return small_run_config(data, output, SIZE, *pictures, *changes)


# ------------------------------------------------------------------------------------- the places


def test_a_token_is_the_mean_over_its_rows_and_columns_of_the_picture() -> None:
    """The oracle is torch's adaptive average over the rectangular map of the network itself."""
    options = {"tokens": (2, 3), "pretrained": False, "hidden_dim": 32, "num_heads": 2}
    for name, width in (("test_efficientnet", 160), ("test_vit", 176)):
        arguments = {"dynamic_img_size": True, "img_size": 64} if name == "test_vit" else {}
        model = VTN(name, num_classes=3, backbone_args=arguments, **options).eval()
        frames = torch.randn(1, 3, 1, SIZE, width)
        with torch.no_grad():
            tokens = model.encode_frames(frames)[0, 0]  # (6, F)
            found = model.backbone.forward_features(frames[:, :, 0])  # type: ignore[operator]
        if name == "test_vit":
            patches = found[:, model.backbone.num_prefix_tokens :]  # type: ignore[index]
            found = patches.transpose(1, 2).unflatten(2, (SIZE // 16, width // 16))
        assert found.shape[-1] > found.shape[-2]
        cells = nn.functional.adaptive_avg_pool2d(found, (2, 3))[0]  # (F, 2, 3)
        torch.testing.assert_close(tokens, cells.flatten(1).T, atol=1e-5, rtol=1e-5)


def test_what_happens_at_the_side_changes_the_tokens_of_that_side() -> None:
    model = VTN(
        "test_efficientnet", num_classes=3, tokens=(1, 2), pretrained=False, num_heads=2, hidden_dim=32
    )
    model.eval()
    grey = torch.zeros(1, 3, 1, SIZE, 8 * SIZE)
    right = grey.clone()
    right[..., -SIZE:] = torch.randn(SIZE, SIZE)
    with torch.no_grad():
        change = (model.encode_frames(right) - model.encode_frames(grey)).abs().amax(-1)[0, 0]
    assert change[0] < 1e-6
    assert change[1] > 1e-4


# ---------------------------------------------------------------------------------- tests and caches


@pytest.mark.parametrize(
    ("model", "backbone"),
    [("VTN", CONVOLUTIONAL), ("VTN", TRANSFORMER), ("VTN", CLIPS), ("FrameAverage", CONVOLUTIONAL)],
    ids=["convolutional", "transformer", "clip encoder", "FrameAverage"],
)
def test_a_batch_of_several_sizes_gives_the_scores_of_single_videos(
    data: Path, tmp_path: Path, model: str, backbone: tuple[Any, ...]
) -> None:
    changes = ("MODEL.MODEL_NAME", model, *backbone)
    together = scores_of_test_split(config(data, tmp_path, *changes))
    np.testing.assert_allclose(
        together, scores_of_test_split(config(data, tmp_path, *changes, "TEST.BATCH_SIZE", 1)), atol=1e-5
    )
    cropped = scores_of_test_split(config(data, tmp_path, *changes, "DATA.TEST_WHOLE_PICTURE", False))
    differences = np.abs(together - cropped).max(axis=1)
    assert differences[[0, 4]].max() < 1e-5, "square videos have no sides to lose"
    assert differences[[1, 2, 3, 5]].min() > 1e-5


def test_a_cache_of_whole_pictures_gives_the_scores_of_the_videos(data: Path, tmp_path: Path) -> None:
    cfg = config(data, tmp_path, "DATA.FEATURES", tmp_path / "cache")
    extract_features(cfg, World(), Interrupt(), ExtractionRequest(dtype="float32"))
    variants = Manifest.read(tmp_path / "cache").variants
    assert variants == (Variant(SIZE, SIZE), Variant(SIZE, SIZE, picture_multiple=1))
    assert (tmp_path / "cache/short64-whole/test0.mp4.npy").is_file()
    assert not (tmp_path / "cache/short64-whole/train0.mp4.npy").exists()
    np.testing.assert_allclose(
        scores_of_test_split(cfg), scores_of_test_split(config(data, tmp_path)), atol=1e-5
    )
    # Crops of the test split were not extracted, and are not taken from elsewhere.
    crops = config(data, tmp_path, "DATA.FEATURES", tmp_path / "cache", "DATA.TEST_WHOLE_PICTURE", False)
    extract_features(crops, World(), Interrupt(), ExtractionRequest(dtype="float32"))
    direct = config(data, tmp_path, "DATA.TEST_WHOLE_PICTURE", False)
    np.testing.assert_allclose(scores_of_test_split(crops), scores_of_test_split(direct), atol=1e-5)


def test_a_cache_without_whole_pictures_is_refused(data: Path, tmp_path: Path) -> None:
    changes = ("DATA.FEATURES", tmp_path / "cache", "DATA.TEST_WHOLE_PICTURE", False)
    extract_features(config(data, tmp_path, *changes), World(), Interrupt(), ExtractionRequest())
    with pytest.raises(ConfigError, match="has short64-crop64-1of1, needed is short64-whole"):
        scores_of_test_split(config(data, tmp_path, *changes, "DATA.TEST_WHOLE_PICTURE", True))


def test_training_on_cached_whole_pictures(data: Path, tmp_path: Path) -> None:
    """Features of a training clip are those of the whole pictures, or of their mirror images."""
    cfg = config(data, tmp_path, "DATA.FEATURES", tmp_path / "cache", "DATA.RANDOM_FLIP", True)
    request = ExtractionRequest(dtype="float32", whole_pictures=True, flips=True)
    extract_features(cfg, World(), Interrupt(), request)
    assert {path.name for path in (tmp_path / "cache").glob("short*")} == {
        "short64-whole", "short64-whole-flip", "short64-crop64-1of1"
    }  # fmt: skip
    model: Any = build_seeded_model(cfg, World(), fetch_weights=True).eval()
    cfg = adopt_frame_format(cfg, model)
    dataset = build_dataset(cfg, "train", feature_shape=(4, model.feature_dim))
    with open_video(str(data / "train1.mp4")) as video:
        pictures = torch.from_numpy(video.read(np.arange(7), whole_picture(SIZE)))  # (T, H, W, 3)
    frames = normalize(pictures.permute(3, 0, 1, 2)[None], tuple(cfg.DATA.MEAN), tuple(cfg.DATA.STD))
    with torch.no_grad():
        seen, mirrored = (model.encode_frames(images)[0] for images in (frames, frames.flip(-1)))
    found = set()
    for epoch in range(12):
        clip = dataset[SampleRef(epoch, 1)]
        assert isinstance(clip, FeatureClip)
        rows = clip.positions.tolist()
        is_own = [torch.allclose(clip.features, each[rows], atol=1e-4) for each in (seen, mirrored)]
        assert sum(is_own) == 1
        found.add(is_own[0])
    assert found == {True, False}
    assert run(cfg) == 0


@pytest.mark.parametrize(
    ("request_options", "changes", "message"),
    [
        ({}, ("DATA.TEST_WHOLE_PICTURE", False), "WHOLE_PICTURE = False: must be True for --whole-pictures"),
        ({"crops": 3}, (), "--crops 3: must be 1 with --whole-pictures"),
    ],
)  # fmt: skip
def test_wrong_requests_for_whole_pictures_are_refused(
    data: Path, tmp_path: Path, request_options: dict[str, Any], changes: tuple[Any, ...], message: str
) -> None:
    cfg = config(data, tmp_path, "DATA.FEATURES", tmp_path / "cache", *changes)
    request = ExtractionRequest(whole_pictures=True, **request_options)
    with pytest.raises(ConfigError, match=message):
        extract_features(cfg, World(), Interrupt(), request)


def test_a_run_trains_on_crops_and_tests_on_whole_pictures(data: Path, tmp_path: Path) -> None:
    cfg = config(data, tmp_path, "TEST.SAVE_RESULTS_PATH", "results.npz")
    assert run(cfg) == 0
    with np.load(tmp_path / "results.npz") as results:
        assert results["scores"].shape == (6, 3)
    checkpoint = tmp_path / "checkpoints/checkpoint_epoch_00001.pyth"
    again = ("TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", checkpoint, "TEST.BATCH_SIZE", 1)
    assert run(config(data, tmp_path / "again", *again, "TEST.SAVE_RESULTS_PATH", "results.npz")) == 0
    with np.load(tmp_path / "results.npz") as first, np.load(tmp_path / "again/results.npz") as second:
        np.testing.assert_allclose(first["scores"], second["scores"], atol=1e-5)


# -------------------------------------------------------------------------------------- predictions


def test_a_prediction_sees_the_whole_picture(data: Path, tmp_path: Path) -> None:
    """The scores of every frame of a video are those of a test; another view needs other features."""
    changes = ("TRAIN.EVAL_FULL_VIDEO", True, "TRAIN.EVAL_NUM_FRAMES", 0, "DATA.TARGET_FPS", 5)
    cfg = config(data, tmp_path, *changes, "DATA.SAMPLING_RATE", 1)
    model: Any = build_seeded_model(cfg, World(), fetch_weights=True)
    torch.save({"model_state": model.state_dict()}, tmp_path / "weights.pyth")
    (tmp_path / "config.yaml").write_text(cfg.dump())

    def predict(*overrides: str) -> np.ndarray:
        request = PredictionRequest(
            str(data / "test3.mp4"), str(tmp_path / "config.yaml"), str(tmp_path / "weights.pyth"), overrides
        )
        return predict_video(request, Interrupt()).scores

    whole = predict()
    np.testing.assert_allclose(whole, scores_of_test_split(cfg)[3], atol=1e-4)
    assert np.abs(predict("DATA.TEST_WHOLE_PICTURE", "False") - whole).max() > 1e-5
    (description,) = (tmp_path / "features").glob("test3-*.json")
    assert "picture_multiple" not in description.read_text()  # as files of earlier versions


# ------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            (*TRANSFORMER[:3], {"img_size": SIZE, "dynamic_img_size": False}),
            "TEST_WHOLE_PICTURE = True: must be False for VTN, which accepts frames of one size: images have "
            "64×114 pixels: must be 64×64 .*dynamic_img_size True",
        ),
        (
            (*TRANSFORMER, "DATA.TEST_PICTURE_MULTIPLE", 8),
            "TEST_PICTURE_MULTIPLE = 8: must be a multiple of 16, which VTN needs; use 0 for 16",
        ),
        (
            ("VTN.BACKBONE.NAME", "shallow_conv", "VTN.BACKBONE.ARGS", {"image_size": SIZE}),
            "must be False for VTN, which accepts frames of one size",
        ),
    ],
)
def test_backbones_of_one_size_are_refused_before_any_video_is_opened(
    tmp_path: Path, changes: tuple[Any, ...], message: str
) -> None:
    cfg = config(tmp_path / "missing", tmp_path, *changes)
    model = build_seeded_model(cfg, World(), fetch_weights=True)
    with pytest.raises(ConfigError, match=message):
        adopt_frame_format(cfg, model)
