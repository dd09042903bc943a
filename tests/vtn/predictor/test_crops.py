"""Several crops per frame: predictions, overviews and explanations of one video agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast.datasets.clip import normalize
from slowfast.datasets.views.spatial import fixed_crop
from slowfast.video.decoding import open_video
from tests.support.tiny_models import publish_folder, trained_checkpoint
from tests.support.videos import overwrite_packets, write_video
from vtn import Predictor
from vtn.frame_model import FrameModel
from vtn.predictor import videos as videos_module

SIDE = 32  # pixels of a crop, and of the short side where there are several crops


def with_crops(cfg: CfgNode, folder: Path, crops: int) -> Path:
    """Publishes a model whose test merges that many crops, from scaled frames that one crop would not get."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list(["TEST.NUM_SPATIAL_CROPS", crops, "DATA.TRAIN_JITTER_SCALES", [40, 44]])
    cfg.OUTPUT_DIR = str(folder / "run")
    return publish_folder(trained_checkpoint(cfg, folder / "run"), folder / "published")


@pytest.fixture(scope="module")
def three_crops(cfg: CfgNode, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor(with_crops(cfg, tmp_path_factory.mktemp("three"), 3), device="cpu")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 20 key frames whose crops differ."""
    noise = np.random.default_rng(0).integers(0, 128, (20, 12, 48, 3), np.uint8)
    brighter = np.linspace(0, 127, 48).astype(np.uint8)[:, None]  # from left to right
    images = list((noise + brighter).repeat(8, 1).repeat(8, 2))
    options = {"codec": "mjpeg", "pix_fmt": "yuvj420p", "fps": 10}
    return write_video(tmp_path_factory.mktemp("wide") / "wide.avi", images, **options)


@torch.no_grad()
def crop_scores(model: FrameModel, path: Path, frames: np.ndarray, crop: int, num_crops: int) -> np.ndarray:
    """Returns the scores (K,) of one crop with the given ones of 20 frames, the others masked."""
    with open_video(str(path)) as video:
        pixels = video.read(frames, fixed_crop(SIDE, SIDE, crop, num_crops))
    clip = torch.from_numpy(pixels).permute(3, 0, 1, 2)[None]
    features = model.encode_frames(normalize(clip, model.frame_mean, model.frame_std))
    padded = features.new_zeros(1, 20, features.shape[-1])
    padded[:, frames] = features
    mask = torch.zeros(1, 20, dtype=torch.bool)
    mask[:, frames] = True
    return model.classify(padded, None, mask).softmax(-1)[0].numpy()


def test_an_overview_has_the_scores_of_the_prediction(three_crops: Predictor, wide: Path) -> None:
    found, expected = three_crops.overview(wide).prediction, three_crops(wide)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    middle = crop_scores(three_crops.model, wide, np.arange(20), 1, 3)
    assert np.abs(expected.scores - middle).max() > 0.01, "the crops must have different scores"


def test_scores_over_time_and_attention_are_of_the_middle_crop(three_crops: Predictor, wide: Path) -> None:
    middle = crop_scores(three_crops.model, wide, np.arange(20), 1, 3)
    windows = Predictor(three_crops.model, device="cpu", fps=10)(wide, window_seconds=9)
    np.testing.assert_allclose(windows.scores, middle, atol=1e-5)
    explanation, overview = three_crops.explain(wide), three_crops.overview(wide)
    np.testing.assert_allclose(explanation.prediction.scores, middle, atol=1e-5)
    assert explanation.attention is not None
    assert overview.attention is not None
    np.testing.assert_allclose(overview.attention, explanation.attention.rollout, atol=1e-6)


def test_an_explanation_is_of_the_predicted_class_and_says_what_it_shows(
    three_crops: Predictor, wide: Path, tmp_path: Path
) -> None:
    explanation, (best, *_) = three_crops.explain(wide), three_crops(wide).top(1)
    assert explanation.label == best.index
    note = f"The prediction of the video merges 3 crops: {best.text} {best.score:.3f}"
    assert explanation.notes[0].startswith(note)
    assert note in explanation.describe()
    page, *_ = explanation.write(tmp_path / "why.html")
    assert note in page.read_text()
    assert "In the middle crop, the model predicts" in page.read_text()


@pytest.mark.parametrize("crops", [2, 3])
def test_frames_that_cannot_be_decoded_are_left_out_of_every_crop(
    crops: int, cfg: CfgNode, wide: Path, tmp_path: Path
) -> None:
    predictor = Predictor(with_crops(cfg, tmp_path, crops), device="cpu")
    damaged = overwrite_packets(wide, tmp_path / "damaged.avi", 5, 8)
    found = predictor(damaged)
    assert (found.num_frames, found.num_undecodable) == (17, 3)
    kept = np.delete(np.arange(20), np.s_[5:8])
    expected = [crop_scores(predictor.model, wide, kept, crop, crops) for crop in range(crops)]
    np.testing.assert_allclose(found.scores, np.mean(expected, axis=0), atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.01, "the crops must have different scores"
    np.testing.assert_allclose(predictor.overview(damaged).prediction.scores, found.scores, atol=1e-5)


def test_a_video_is_opened_once_per_clip(
    published: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address was downloaded again for each crop of each clip."""
    opened = []
    open_video = videos_module.open_naming_truncated

    def open_counted(path: Any, **options: Any) -> Any:
        opened.append(path)
        return open_video(path, **options)

    monkeypatch.setattr(videos_module, "open_naming_truncated", open_counted)
    Predictor(published, device="cpu", views=(2, 3))(videos / "20.mp4")
    assert len(opened) == 2
