"""Runs that are resumed by another number of processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from slowfast.checkpoint.resume import RunIdentity, check_resumable, choose_global_batch
from slowfast.checkpoint.state import TrainingProgress, TrainingState
from slowfast.distributed.world import World
from slowfast.errors import CheckpointError
from tests.support.run_results import NO_DROPOUT_OR_TEST, assert_same_end, log_of, metrics_of, run_nodes
from tests.support.tiny import tiny_config


def test_a_run_resumed_in_two_and_then_four_processes_sees_the_same_samples(
    colour_videos: Path, tmp_path: Path
) -> None:
    """The batch stays that of the first start, although the configuration has 4 clips per node."""
    assert run_nodes(1, colour_videos, tmp_path / "one", *NO_DROPOUT_OR_TEST) == [0]
    for size, steps in ((1, 4), (2, 9), (4, 0)):
        assert (
            run_nodes(size, colour_videos, tmp_path / "more", *NO_DROPOUT_OR_TEST, "TRAIN.MAX_STEPS", steps)
            == [0] * size
        )
    one, more = (metrics_of(tmp_path / name, "train_iter") for name in ("one", "more"))
    assert [(line["epoch"], line["iter"]) for line in more] == [(line["epoch"], line["iter"]) for line in one]
    assert [line["loss"] for line in more] == pytest.approx([line["loss"] for line in one], rel=1e-5)
    assert [line["lr"] for line in more] == [line["lr"] for line in one]
    log = log_of(tmp_path / "more")
    assert "4 clips per step, as at the first start; TRAIN.BATCH_SIZE would now result in 16" in log
    assert "training: 4 clips per step = 4 processes × 1" in log


def test_three_processes_are_resumed_bit_by_bit(colour_videos: Path, tmp_path: Path) -> None:
    """With more than two, the order in which gradients are summed changes the last bits."""
    options = ("TRAIN.BATCH_SIZE", 1, "SOLVER.MAX_EPOCH", 2, "TEST.ENABLE", False)
    assert run_nodes(3, colour_videos, tmp_path / "unbroken", *options) == [0] * 3
    for steps in (5, 0):
        stop = ("TRAIN.MAX_STEPS", steps)
        assert run_nodes(3, colour_videos, tmp_path / "stopped", *options, *stop) == [0] * 3
    assert_same_end(tmp_path / "unbroken", tmp_path / "stopped", "checkpoint_epoch_00002.pyth")


def test_learning_rates_scaled_by_nodes_stay_those_of_the_first_start(
    colour_videos: Path, tmp_path: Path
) -> None:
    options = (*NO_DROPOUT_OR_TEST, "SOLVER.BASE_LR_SCALE_NUM_SHARDS", True)
    assert run_nodes(2, colour_videos, tmp_path, *options, "TRAIN.MAX_STEPS", 1) == [0, 0]
    assert run_nodes(1, colour_videos, tmp_path, *options, "TRAIN.MAX_STEPS", 2) == [0]
    rates = [line["lr"] for line in metrics_of(tmp_path, "train_iter")]
    assert rates[0] == 0.1
    assert rates[1] > 0.09
    assert "learning rates are multiplied by 2" in log_of(tmp_path)
    # A change of the key takes effect, for the nodes of the first start.
    for scaled, lowest, highest in ((False, 0.04, 0.05), (True, 0.05, 0.1)):
        steps = len(rates) + 1
        options = (*NO_DROPOUT_OR_TEST, "SOLVER.BASE_LR_SCALE_NUM_SHARDS", scaled, "TRAIN.MAX_STEPS", steps)
        assert run_nodes(1, colour_videos, tmp_path, *options) == [0]
        rates = [line["lr"] for line in metrics_of(tmp_path, "train_iter")]
        assert lowest < rates[-1] < highest


def saved(config: str, global_batch: int) -> TrainingState:
    """Returns the state of a run after some steps."""
    return TrainingState(TrainingProgress(1, 2), {}, {}, {}, config, 0, global_batch, "")


def test_a_number_of_processes_that_cannot_share_the_batch_evenly_is_refused(tmp_path: Path) -> None:
    cfg = tiny_config(tmp_path, tmp_path, "TRAIN.BATCH_SIZE", 6)
    state = saved(cfg.dump(), 12)
    assert choose_global_batch(cfg, World(0, 4, 0, 1), None) == 24
    assert choose_global_batch(cfg, World(0, 4, 0, 1), state) == 12
    with pytest.raises(CheckpointError, match=r"5 processes .* 12 clips .*; start 1, 2, 3, 4, 6 or 12"):
        choose_global_batch(cfg, World(0, 5, 0, 1), state)
    with pytest.raises(CheckpointError, match=r"the 1 clip per step .*; start 1$"):
        choose_global_batch(cfg, World(0, 5, 0, 1), saved(cfg.dump(), 1))


def test_a_checkpoint_without_its_batch_and_its_list_is_resumed_by_any_world(tmp_path: Path) -> None:
    """As one that PySlowFast has written into the folder."""
    cfg = tiny_config(tmp_path, tmp_path)
    state = saved(cfg.dump(), 0)
    assert choose_global_batch(cfg, World(0, 4, 0, 1), state) == 16
    identity = RunIdentity(cfg.dump(), 0, 16, "hash of the list")
    assert check_resumable(state, identity, source=tmp_path, forced=False) == state.progress


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("TRAIN", "DATASET"),
        ("AUG", "NUM_SAMPLE"),
        ("DATA_LOADER", "TRAIN_SAMPLER"),
        ("DATA", "SHUFFLE_SHARDS"),
    ],
)
def test_a_key_that_changes_the_order_of_samples_restarts_the_epoch_if_forced(
    section: str, key: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The steps of the epoch so far were on other samples than those that would now be left out."""
    before, after = (f"{section}: {{{key}: {value}}}" for value in (1, 2))
    state, identity = saved(before, 4), RunIdentity(after, 0, 4, "")
    with pytest.raises(CheckpointError, match=rf"cannot be resumed with {section}\.{key}: 1 → 2; restore"):
        check_resumable(state, identity, source=tmp_path, forced=False)
    ended = replace(state, progress=TrainingProgress(2))
    assert check_resumable(ended, identity, source=tmp_path, forced=True) == TrainingProgress(2)
    assert "restarts" not in caplog.text
    assert check_resumable(state, identity, source=tmp_path, forced=True) == TrainingProgress(1, 0)
    assert "step 2 of epoch 2 is not valid in the changed run: epoch 2 restarts" in caplog.text


def test_another_batch_size_is_accepted_for_the_same_global_batch_only_unless_forced(tmp_path: Path) -> None:
    state = saved(tiny_config(tmp_path, tmp_path, "TRAIN.BATCH_SIZE", 12).dump(), 12)
    half = ("TRAIN.BATCH_SIZE", 6)
    assert choose_global_batch(tiny_config(tmp_path, tmp_path, *half), World(0, 2, 0, 1), state) == 12
    with pytest.raises(
        CheckpointError, match=r"with 12, which made 12 clips per step .* now have 6; restore"
    ):
        choose_global_batch(tiny_config(tmp_path, tmp_path, *half), World(), state)
    forced = tiny_config(tmp_path, tmp_path, *half, "TRAIN.FORCE_RESUME", True)
    assert choose_global_batch(forced, World(), state) == 6
    # The videos of the steps so far were other ones.
    identity = RunIdentity(forced.dump(), 0, 6, "")
    assert check_resumable(state, identity, source=tmp_path, forced=True) == TrainingProgress(1, 0)
