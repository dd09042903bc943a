"""The recipe with a frozen ImageNet backbone, from videos to accuracy: few training videos are enough."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slowfast.cli.extract import main as extract_features
from slowfast.config import load_config
from slowfast.engine.run import run
from slowfast.features.cache import Manifest
from tests.support.videos import write_csv, write_video
from vtn.backbones.efficientnet_lite0 import PACKAGE
from vtn.quickstart.photographs import load_photograph

CLASSES = ("astronaut", "chelsea", "coffee", "flower", "motorcycle", "rocket")
SIDE, FRAMES, TRAINING, TESTED = 96, 2, 24, 60


def draw_frames(label: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Returns frames (H, W, 3) of a window in a photograph that moves down; grey, of random brightness."""
    photograph = Image.fromarray(np.asarray(load_photograph(CLASSES[label]))).convert("L").convert("RGB")
    side = int(min(photograph.size) * rng.uniform(0.5, 0.8))
    left, top = (int(rng.integers(0, extent - side)) for extent in photograph.size)
    light, mirrored = rng.uniform(0.6, 1.3), rng.random() < 0.5
    frames = []
    for step in range(FRAMES):
        window = photograph.crop((left, top - step, left + side, top - step + side)).resize((SIDE, SIDE))
        frame = np.clip(np.asarray(window, np.float32) * light, 0, 255).astype(np.uint8)
        frames.append(np.ascontiguousarray(frame[:, ::-1]) if mirrored else frame)
    return frames


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", TRAINING), ("val", 6), ("test", TESTED)):
        videos = []
        for i in range(count):
            label = i % len(CLASSES)
            videos.append((write_video(tmp_path / f"{split}{i}.mp4", draw_frames(label, rng), fps=4), label))
        write_csv(tmp_path / f"{split}.csv", videos)
    return tmp_path


def accuracy(data: Path, output: Path, *, pretrained: bool) -> float:
    """Returns the top-1 accuracy in percent of the recipe, trained on features of the frozen backbone."""
    settings = {
        "DATA.PATH_TO_DATA_DIR": data, "DATA.FEATURES": output / "features", "OUTPUT_DIR": output,
        "VTN.BACKBONE.PRETRAINED": pretrained, "MODEL.NUM_CLASSES": len(CLASSES),
        "NUM_GPUS": 0, "DATA_LOADER.NUM_WORKERS": 0, "DATA.NUM_FRAMES": 2, "DATA.SAMPLING_RATE": 6,
        "TRAIN.EVAL_NUM_FRAMES": 2, "TRAIN.EVAL_PERIOD": 100, "TRAIN.CHECKPOINT_PERIOD": 100,
        "SOLVER.MAX_EPOCH": 25, "SOLVER.BASE_LR": 0.001,
    }  # fmt: skip
    overrides = [str(part) for pair in settings.items() for part in pair]
    assert extract_features(["--cfg", "PRETRAINED_DEMO", *overrides]) == 0
    assert Manifest.read(output / "features").row_shape == (9, 1280)  # a grid of 3 × 3 tokens
    assert run(load_config("PRETRAINED_DEMO", overrides)) == 0
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    (final,) = [line for line in lines if line["_type"] == "test_final"]
    assert final["videos"] == TESTED
    return final["top1_acc"]


def test_with_imagenet_weights_four_videos_per_class_are_enough(data: Path, tmp_path: Path) -> None:
    """The same frozen backbone with random weights is at least 20 points worse."""
    pytest.importorskip(PACKAGE, reason=f"{PACKAGE} is not installed; it is in the extra 'pretrained-demo'")
    known = accuracy(data, tmp_path / "pretrained", pretrained=True)
    random = accuracy(data, tmp_path / "random", pretrained=False)
    assert known >= 75
    assert known >= random + 20
