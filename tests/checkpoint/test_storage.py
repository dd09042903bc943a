"""Checkpoint files: their names, damaged files, and weights that do not fit."""

from __future__ import annotations

import errno
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from slowfast import files
from slowfast.checkpoint.resume import find_own_checkpoint
from slowfast.checkpoint.state import TrainingProgress, TrainingState
from slowfast.checkpoint.storage import (
    checkpoint_path,
    last_checkpoint,
    read_training_state,
    record_validation,
    recorded_validation,
    save_checkpoint,
)
from slowfast.checkpoint.weights import load_model_weights
from slowfast.distributed.world import World
from slowfast.errors import CheckpointError
from tests.support.tiny import Tiny


def state_at(progress: TrainingProgress) -> TrainingState:
    model = Tiny()
    optimizer = torch.optim.AdamW(model.parameters())
    return TrainingState(progress, model.state_dict(), optimizer.state_dict(), {}, "A: 1\n", 0, 4, "f")


def test_files_have_pyslowfasts_names_and_the_latest_one_is_found(tmp_path: Path) -> None:
    for progress in (TrainingProgress(2, 0), TrainingProgress(10, 0), TrainingProgress(2, 7)):
        path = save_checkpoint(tmp_path, state_at(progress))
        assert path == checkpoint_path(tmp_path, progress)
    assert (tmp_path / "checkpoints" / "checkpoint_epoch_00002.pyth").exists()
    assert last_checkpoint(tmp_path) == checkpoint_path(tmp_path, TrainingProgress(10, 0))


def test_a_state_is_read_as_it_was_saved(tmp_path: Path) -> None:
    saved = state_at(TrainingProgress(1, 3))
    path = save_checkpoint(tmp_path, saved)
    found = read_training_state(path)
    assert (found.progress, found.config, found.global_batch) == (saved.progress, "A: 1\n", 4)
    assert all(torch.equal(found.model_state[name], saved.model_state[name]) for name in saved.model_state)


@pytest.mark.parametrize("damage", ["truncated", "flipped bit", "empty", "text"])
def test_a_damaged_newest_checkpoint_is_logged_and_skipped(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = save_checkpoint(tmp_path, state_at(TrainingProgress(1)))
    newest = save_checkpoint(tmp_path, state_at(TrainingProgress(2)))
    content = bytearray(newest.read_bytes())
    at = content.find(state_at(TrainingProgress(2)).model_state["head.bias"].numpy().tobytes()[:1], 2000)
    content[at] ^= 4
    newest.write_bytes(
        {
            "truncated": newest.read_bytes()[:-100],
            "flipped bit": bytes(content),
            "empty": b"",
            "text": b"not a checkpoint",
        }[damage]
    )
    assert last_checkpoint(tmp_path) == good
    assert "checkpoint_epoch_00002.pyth is damaged" in caplog.text


def test_every_flipped_bit_of_the_weights_is_detected(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, state_at(TrainingProgress(1)))
    before = read_training_state(path)
    content = path.read_bytes()
    for at in range(0, len(content), 211):
        damaged = bytearray(content)
        damaged[at] ^= 1 << (at % 8)
        path.write_bytes(damaged)
        if last_checkpoint(tmp_path) is not None:  # the bit is not part of a value
            after = read_training_state(path)
            assert all(torch.equal(after.model_state[n], v) for n, v in before.model_state.items())


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"\x00" * 40, b"null", b"[1]", b'{"loss": 0.'])
def test_a_damaged_record_of_a_validation_counts_as_none(tmp_path: Path, content: bytes) -> None:
    path = save_checkpoint(tmp_path, state_at(TrainingProgress(1, 0)))
    record_validation(path, {"loss": 0.5})
    assert recorded_validation(path) == {"loss": 0.5}
    path.with_suffix(".json").write_bytes(content)
    assert recorded_validation(path) is None


def test_a_full_disk_raises_one_error_and_leaves_earlier_checkpoints_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = save_checkpoint(tmp_path, state_at(TrainingProgress(1)))
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("/dev/full does not exist on this system")
    unwritable = checkpoint_path(tmp_path, TrainingProgress(2))
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: "0")
    temporary = unwritable.with_name(f".{unwritable.stem}.writing-{os.getpid()}-0.pyth")
    temporary.symlink_to(full)
    with pytest.raises(CheckpointError, match="earlier checkpoints are intact"):
        save_checkpoint(tmp_path, state_at(TrainingProgress(2)))
    assert last_checkpoint(tmp_path) == good
    assert not temporary.is_symlink()


def test_a_full_disk_is_named_where_torch_reports_a_position_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(content: object, file: object) -> None:
        try:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        finally:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")

    monkeypatch.setattr(torch, "save", fill)
    with pytest.raises(CheckpointError, match="the disk is full; earlier checkpoints are intact"):
        save_checkpoint(tmp_path, state_at(TrainingProgress(1)))


def test_all_weights_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    weights = Tiny().state_dict()
    del weights["hidden.bias"]
    weights["hidden.weight"] = torch.zeros(16, 47)
    weights["extra"] = torch.zeros(1)
    torch.save(weights, tmp_path / "w.pyth")
    with pytest.raises(CheckpointError) as caught:
        load_model_weights(Tiny(), tmp_path / "w.pyth")
    message = str(caught.value)
    for expected in ("missing (1)", "hidden.bias", "unexpected (1)", "extra", "(16, 47)", "(16, 48)"):
        assert expected in message


def test_a_head_for_other_classes_keeps_its_initial_weights_only_on_request(tmp_path: Path) -> None:
    source, target = Tiny(), Tiny()
    source.head = nn.Linear(16, 5)
    torch.save(source.state_dict(), tmp_path / "w.pyth")
    remedy = "of 5 classes, the model has 3: set MODEL.NUM_CLASSES 5 (in Python: num_classes=5)"
    with pytest.raises(CheckpointError, match=f"{re.escape(remedy)}$"):
        load_model_weights(target, tmp_path / "w.pyth")
    with pytest.raises(CheckpointError, match=f"{re.escape(remedy)}, or reset_head=True to keep"):
        load_model_weights(target, tmp_path / "w.pyth", reset_option="reset_head=True")
    initial = target.head.weight.clone()
    load_model_weights(target, tmp_path / "w.pyth", reset_head=True)
    assert torch.equal(target.head.weight, initial)
    assert torch.equal(target.hidden.weight, source.hidden.weight)


def test_a_file_that_could_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"model_state": {}, "hook": print}, tmp_path / "w.pyth")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_model_weights(Tiny(), tmp_path / "w.pyth")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_model_weights(Tiny(), tmp_path / "absent.pyth")


@pytest.mark.parametrize("content", [b"# a text file\n", b""])
def test_the_error_about_another_file_does_not_advise_to_load_it_unsafely(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "w.pyth").write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read") as caught:
        load_model_weights(Tiny(), tmp_path / "w.pyth")
    assert "weights_only" not in str(caught.value)


def test_an_incomplete_file_is_to_be_copied_again(tmp_path: Path) -> None:
    torch.save({"model_state": {"weight": torch.zeros(99)}}, tmp_path / "w.pyth")
    os.truncate(tmp_path / "w.pyth", 500)
    with pytest.raises(CheckpointError, match=r"w\.pyth is damaged: .*; copy or download it again$"):
        load_model_weights(Tiny(), tmp_path / "w.pyth")


def test_weights_alone_among_the_checkpoints_of_a_run_are_refused(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, TrainingProgress(epoch=1))
    path.parent.mkdir()
    torch.save({"model_state": {"weight": torch.zeros(2)}}, path)
    with pytest.raises(CheckpointError, match=r"00001\.pyth contains only weights; move it away to restart"):
        find_own_checkpoint(str(tmp_path), auto_resume=True, world=World())


def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_anew(tmp_path: Path) -> None:
    """It would replace them, although a copy or an earlier part of them may be recovered."""
    for epoch in (1, 2):
        path = save_checkpoint(tmp_path, state_at(TrainingProgress(epoch)))
        path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CheckpointError, match=r"every checkpoint in .*checkpoints is damaged; move them"):
        find_own_checkpoint(str(tmp_path), auto_resume=True, world=World())


def test_a_file_of_caffe2_names_the_files_to_take_instead(tmp_path: Path) -> None:
    """PySlowFast's model zoo has such files, as pickled arrays of NumPy."""
    path = tmp_path / "SLOWFAST_8x8_R50.pkl"
    path.write_bytes(pickle.dumps({"blobs": {"conv1_w": np.zeros(1)}}, protocol=2))
    with pytest.raises(CheckpointError, match=r"is of Caffe2: take the weights of pytorchvideo$"):
        load_model_weights(Tiny(), path)
