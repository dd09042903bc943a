"""Files written by version 0.1.0 are read with the same content.

``files/`` has the files of one training run with a tiny model: its checkpoint and configuration, a feature
cache of its videos, the model as a hub folder, and the logits of five frames of noise.
"""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slowfast.checkpoint.storage import read_training_state
from slowfast.config import load_config
from slowfast.engine.run import run
from slowfast.extraction.extract import ExtractionRequest, extract_features
from vtn import VTN, create_model
from vtn.arguments.evaluation import build_evaluation
from vtn.transformers import VTNVideoProcessor

FILES = Path(__file__).with_name("files")
CHECKPOINT = FILES / "checkpoint_epoch_00001.pyth"
CONFIG = FILES / "config.yaml"


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.randn(1, 3, 5, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder of the run, since its configuration has relative paths of data and cache."""
    (tmp_path / "data").mkdir()
    for path in FILES.glob("*.mp4"):
        shutil.copy(path, tmp_path / "data")
    for split in ("train", "val", "test"):
        lines = "".join(f"{number}.mp4 {number % 2}\n" for number in range(4))
        (tmp_path / "data" / f"{split}.csv").write_text(lines)
    shutil.copytree(FILES / "cache", tmp_path / "cache")
    (tmp_path / "out" / "checkpoints").mkdir(parents=True)
    shutil.copy(CHECKPOINT, tmp_path / "out" / "checkpoints")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def expected_logits() -> torch.Tensor:
    return torch.tensor(json.loads((FILES / "logits.json").read_text())["logits"])


def test_a_checkpoint_and_its_configuration_give_the_same_logits(frames: torch.Tensor) -> None:
    model = create_model(CONFIG, CHECKPOINT)
    with torch.inference_mode():
        torch.testing.assert_close(model(frames), expected_logits(), atol=1e-6, rtol=1e-6)


def test_a_hub_folder_gives_the_same_logits(frames: torch.Tensor) -> None:
    model = VTN.from_pretrained(FILES / "hub")
    assert model.class_names == ("first", "second")
    with torch.inference_mode():
        torch.testing.assert_close(model(frames), expected_logits(), atol=1e-6, rtol=1e-6)


def test_a_processor_with_the_earlier_name_of_a_clips_rate_is_read(tmp_path: Path) -> None:
    grid = {"frames": 4, "tubelet": 2, "stride": 4}
    model = VTN.from_pretrained(FILES / "hub")
    model.evaluation = build_evaluation(load_config(CONFIG))
    model.save_pretrained(tmp_path)
    file = tmp_path / "video_preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "clip_grid": {**grid, "frame_rate": 15.0}}))
    processor = VTNVideoProcessor.from_pretrained(tmp_path)
    assert processor.to_dict()["clip_grid"] == {**grid, "fps": 15.0}
    assert processor(FILES / "0.mp4")["pixel_values_videos"].ndim == 5


def test_a_run_is_resumed_from_the_checkpoint(folder: Path) -> None:
    assert not read_training_state(CHECKPOINT).has_only_weights
    assert run(load_config(CONFIG, ["SOLVER.MAX_EPOCH", "2"], for_run=True)) == 0
    log = (folder / "out" / "stdout.log").read_text()
    assert "resumed from" in log
    assert (folder / "out" / "checkpoints" / "checkpoint_epoch_00002.pyth").is_file()


def test_a_feature_cache_gives_the_same_scores_as_the_videos(folder: Path) -> None:
    options = ["TRAIN.ENABLE", "False", "TEST.SAVE_RESULTS_PATH", "predictions.npz"]
    scores: list[np.ndarray[Any, Any]] = []
    for cache in ("", "cache"):
        assert run(load_config(CONFIG, [*options, "DATA.FEATURES", cache], for_run=True)) == 0
        scores.append(np.load(folder / "out" / "predictions.npz")["scores"])
    np.testing.assert_allclose(scores[0], scores[1], atol=2e-3)  # the cache is float16


def test_a_feature_cache_can_be_extended(folder: Path) -> None:
    cfg = load_config(CONFIG, ["DATA.FEATURES", "cache"])
    request = ExtractionRequest(checkpoint=str(CHECKPOINT), flips=True)
    assert run(cfg, work=functools.partial(extract_features, request=request)) == 0
    mirrored = folder / "cache" / "short32-crop32-1of1-flip"
    assert len(list(mirrored.glob("*.npy"))) == 4
