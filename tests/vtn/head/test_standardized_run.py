"""Training of a model that standardises its input: the statistics are those of the training features."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast.checkpoint.storage import read_checkpoint
from slowfast.config import load_config
from slowfast.datasets.clip import Clip, ClipBatch, Normalization
from slowfast.distributed.world import World
from slowfast.engine.run import run
from slowfast.engine.training import build
from slowfast.engine.training.feature_statistics import set_feature_statistics
from slowfast.errors import ConfigError, DataError
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.models.precision import Precision
from tests.support.tiny_models import tiny

ROWS, WIDTH = 12, 24
SMALL = [
    "VTN.LONGFORMER.HIDDEN_DIM", "16", "VTN.LONGFORMER.INTERMEDIATE_SIZE", "32", "VTN.HEAD.MLP_DIM", "16",
    "VTN.LONGFORMER.NUM_ATTENTION_HEADS", "2", "NUM_GPUS", "0", "DATA_LOADER.NUM_WORKERS", "0",
    "TRAIN.BATCH_SIZE", "4", "SOLVER.MAX_EPOCH", "1", "VTN.BACKBONE.FROZEN", "True", "MODEL.NUM_CLASSES", "2",
    "VTN.INPUT.STANDARDIZE", "True", "VTN.INPUT.DIFFERENCES", "True", "VTN.HEAD.POOLING", "cls+mean+std",
    "VTN.HEAD.SKIP", "True", "TRAIN.DATASET", "features", "TEST.DATASET", "features",
    "VTN.BACKBONE.NAME", "precomputed", "VTN.BACKBONE.ARGS", f"{{'feature_dim': {WIDTH}}}",
    "DATA.FEATURES_FPS", "25", "DATA.TARGET_FPS", "25", "DATA.SAMPLING_RATE", "1",
    "DATA.NUM_FRAMES", str(ROWS), "TRAIN.EVAL_NUM_FRAMES", "0", "VTN.BACKBONE.TOKENS", "[1, 1]",
]  # fmt: skip


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Returns a folder of eight feature files of different scales per channel, and their lists."""
    generator, scale = np.random.default_rng(0), np.linspace(0.1, 30, WIDTH)
    for number in range(8):
        rows = generator.normal(number % 2, 1, (ROWS, WIDTH)) * scale + 5
        np.save(tmp_path / f"{number}.npy", rows.astype(np.float32))
    for split, numbers in (("train", range(8)), ("val", range(8)), ("test", range(8))):
        lines = [f"{tmp_path}/{number}.npy {number % 2}\n" for number in numbers]
        (tmp_path / f"{split}.csv").write_text("".join(lines))
    return tmp_path


def config(data: Path, *changes: Any) -> CfgNode:
    own = ["DATA.PATH_TO_DATA_DIR", str(data), "OUTPUT_DIR", str(data / "run"), *map(str, changes)]
    return load_config("PRETRAINED_DEMO", [*SMALL, *own])


def saved(data: Path, epoch: int) -> dict[str, torch.Tensor]:
    state = read_checkpoint(data / "run" / "checkpoints" / f"checkpoint_epoch_{epoch:05}.pyth")["model_state"]
    prefix = "feature_input.standardization."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def test_the_statistics_of_the_training_features_are_in_the_checkpoint(videos: Path) -> None:
    assert run(config(videos), "") == 0
    rows = np.concatenate([np.load(videos / f"{number}.npy") for number in range(8)])
    statistics = saved(videos, 1)
    assert int(statistics["num_features"]) == len(rows)
    np.testing.assert_allclose(statistics["mean"], rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(statistics["std"], rows.std(axis=0), rtol=1e-5)


@pytest.mark.parametrize("split", ["val", "test"])
def test_all_lists_are_checked_before_the_statistics_are_computed(
    split: str, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pass over the training features may take an hour."""
    monkeypatch.setattr(build, "set_feature_statistics", lambda *_, **__: pytest.fail("too early"))
    (videos / f"{split}.csv").write_text(f"{videos}/absent.npy 0\n")
    with pytest.raises(DataError, match=r"absent\.npy"):
        run(config(videos, "TEST.ENABLE", True), "")


def test_a_resumed_run_keeps_its_statistics(videos: Path) -> None:
    assert run(config(videos), "") == 0
    np.save(videos / "0.npy", np.load(videos / "0.npy") * 100)
    assert run(config(videos, "SOLVER.MAX_EPOCH", 2, "TRAIN.FORCE_RESUME", True), "") == 0
    before, after = saved(videos, 1), saved(videos, 2)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_features_that_training_changes_cannot_be_standardised() -> None:
    model = tiny(input_standardize=True, frozen=False)
    loader: Any = iter(())  # is not read
    with pytest.raises(ConfigError, match="standardises features that its training changes"):
        set_feature_statistics(
            model, loader, World(), Normalization((), ()), precision=Precision(), interrupt=Interrupt()
        )


class _Loader(list[ClipBatch]):
    """Batches in place of a loader, whose sampler takes any position."""

    batch_sampler = SimpleNamespace(set_position=lambda *_: None)


def _clip(length: int) -> Clip:
    frames = torch.randint(0, 255, (3, length, 16, 16), dtype=torch.uint8)
    return Clip(frames, torch.arange(length), 0, 0)


@pytest.mark.parametrize("tubelet", [1, 2])
def test_frames_that_only_fill_up_a_batch_are_no_part_of_the_statistics(tubelet: int) -> None:
    """Encoders of clips give a row for several frames, which the mask of the frames does not fit."""
    model: Any = tiny(input_standardize=True, frozen=True)
    encode, lengths = model.encode_frames, list[int]()

    def encode_frames(frames: torch.Tensor) -> torch.Tensor:
        lengths.append(frames.shape[2])
        return encode(frames)[:, ::tubelet]

    model.encode_frames = encode_frames
    loader: Any = _Loader([Clip.collate([_clip(8), _clip(4)])])
    set_feature_statistics(
        model,
        loader,
        World(),
        Normalization((0.5,) * 3, (0.5,) * 3),
        precision=Precision(),
        interrupt=Interrupt(),
    )
    assert lengths == [8, 4]
    assert int(model.feature_input.standardization.num_features) == 12 // tubelet


def test_a_signal_ends_the_pass_over_the_training_videos() -> None:
    interrupt = Interrupt()
    interrupt.request(signal.SIGTERM)
    loader: Any = _Loader([Clip.collate([_clip(4)])])
    with pytest.raises(Interrupted):
        set_feature_statistics(
            tiny(input_standardize=True, frozen=True), loader, World(),
            Normalization((0.5,) * 3, (0.5,) * 3), precision=Precision(), interrupt=interrupt,
        )  # fmt: skip
