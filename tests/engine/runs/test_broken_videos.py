"""Runs over lists with broken files, files that hang their reader, and files that kill it."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from slowfast.checkpoint.storage import read_checkpoint
from slowfast.datasets.clip import BrokenVideo, Clip
from slowfast.engine.prediction_file import load_predictions
from slowfast.engine.run import run
from slowfast.errors import DataError
from slowfast.video.packets import PacketSource
from tests.support.processes import run_forked
from tests.support.tiny import Tiny, tiny_config
from tests.support.training.steps import step_of

REASONS = {
    "absent.mp4": "missing",
    "cut.mp4": "not a video",
    "empty.mp4": "empty",
    "hangs.mp4": "hung",
    "kills.mp4": "killed its worker",
    "text.mp4": "not a video",
}


@pytest.fixture
def data(colour_videos: Path, tmp_path: Path) -> Path:
    """Lists with six additional broken videos: 32 for training, 13 for validation and test."""
    folder = tmp_path / "data"
    folder.mkdir()
    intact = (colour_videos / "train_0.mp4").read_bytes()
    contents = {"cut": intact[: len(intact) // 2], "empty": b"", "text": b"no video\n" * 100}
    for name in ("hangs", "kills"):
        contents[name] = intact
    for name, content in contents.items():
        (folder / f"{name}.mp4").write_bytes(content)
    for split in ("train", "val", "test"):
        lines = (colour_videos / f"{split}.csv").read_text().splitlines()
        lines += [f"{folder / name} 0" for name in REASONS]
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(autouse=True)
def _decoder_with_defects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the decoder hang on one file and crash on another, as native code can."""
    plain = PacketSource._open

    def open_with_defects(self: PacketSource) -> None:
        if self.name.endswith("hangs.mp4"):
            time.sleep(1000)
        if self.name.endswith("kills.mp4"):
            os.kill(os.getpid(), signal.SIGKILL)
        plain(self)

    monkeypatch.setattr(PacketSource, "_open", open_with_defects)


OPTIONS = (
    *("SOLVER.MAX_EPOCH", 1, "DATA_LOADER.NUM_WORKERS", 2, "DATA_LOADER.SAMPLE_TIMEOUT", 0.7),
    *("DATA.MAX_BROKEN_FRACTION", 0.2),
)


def lines_after(log: str, heading: str) -> dict[str, str]:
    """Returns the broken videos listed under a heading: file name -> reason."""
    listing = log[log.index(heading) :].splitlines()[1 : 1 + len(REASONS)]
    paths = (line.strip().split(": ", 1) for line in listing)
    return {Path(path).name: reason.partition(" (")[0] for path, reason in paths}


def test_a_run_continues_and_lists_every_broken_video(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert run_forked(run, tiny_config(data, output, *OPTIONS)) == 0
    log = (output / "stdout.log").read_text()
    assert lines_after(log, "epoch 1: replaced by other videos: 6 broken") == REASONS
    assert lines_after(log, "validation over 7 videos; without scores: 6 broken") == REASONS
    assert lines_after(log, "test: not scored, or not in all views: 6 broken") == REASONS
    assert "over 7 of 13 videos" in log
    metrics = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [line["broken_videos"] for line in metrics if line["_type"] in ("train_epoch", "test_final")] == [
        6,
        6,
    ]
    predictions = load_predictions(output / "predictions.npz")
    assert {Path(video.path).name: video.reason for video in predictions.broken} == REASONS
    assert len(predictions.scores) == 7


def test_too_many_broken_videos_end_the_run_with_a_list(data: Path, tmp_path: Path) -> None:
    cfg = tiny_config(data, tmp_path / "out", *OPTIONS, "DATA.MAX_BROKEN_FRACTION", 0.17)
    with pytest.raises(DataError, match="6 of 32 videos are broken in epoch 1, more than") as caught:
        run(cfg)
    for name, reason in REASONS.items():
        assert f"{name}: {reason}" in str(caught.value)


@pytest.mark.faults
def test_a_stopped_run_finds_the_same_broken_videos_and_ends_with_the_same_weights(
    data: Path, tmp_path: Path
) -> None:
    """Quarantined videos are not saved: each hangs or kills once more, and has the same substitutes."""
    options = (*OPTIONS, "TEST.ENABLE", False, "SOLVER.MAX_EPOCH", 2)
    assert run_forked(run, tiny_config(data, tmp_path / "one", *options)) == 0
    for steps in (3, 11, 0):
        assert run_forked(run, tiny_config(data, tmp_path / "two", *options, "TRAIN.MAX_STEPS", steps)) == 0
    last = "checkpoints/checkpoint_epoch_00002.pyth"
    one, two = (read_checkpoint(tmp_path / name / last)["model_state"] for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_a_step_without_any_readable_clip_names_the_first_cause(micro_batches: int) -> None:
    batch = replace(Clip.collate([]), broken=(BrokenVideo(0, "a.mp4", "missing"),))
    with pytest.raises(DataError, match=r"no clip of a batch could be read; the first: a\.mp4.*missing"):
        step_of(Tiny(), micro_batches=micro_batches)(batch, 0.1)
