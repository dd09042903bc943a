"""Resuming a run: in other worlds, with another configuration, with averaged weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from torch import nn

from slowfast.checkpoint.data_fingerprint import fingerprint
from slowfast.checkpoint.resume import choose_global_batch
from slowfast.checkpoint.state import TrainingProgress, TrainingState
from slowfast.checkpoint.storage import (
    checkpoint_path,
    last_checkpoint,
    read_checkpoint,
    read_training_state,
    record_validation,
)
from slowfast.datasets.annotations import PathTable
from slowfast.distributed.world import World, free_local_address
from slowfast.engine.run import run
from slowfast.errors import CheckpointError
from slowfast.models.build import MODEL_REGISTRY
from tests.support.processes import run_all, run_forked
from tests.support.run_results import assert_same_end, metrics_of
from tests.support.tiny import CLASSES, Tiny, tiny_config

NO_DROPOUT = ("MODEL.DROPOUT_RATE", 0.0, "TEST.ENABLE", False)


def train(size: int, data: Path, output: Path, *options: Any) -> list[int]:
    """Runs ``size`` nodes of one process each; returns the exit codes."""
    address = free_local_address()
    shared = ("NUM_SHARDS", size, *options)
    configs = [tiny_config(data, output, *shared, "SHARD_ID", shard) for shard in range(size)]
    return run_all(run, [(cfg, address) for cfg in configs], seconds=120)


def log_of(output: Path) -> str:
    return (output / "stdout.log").read_text()


# --------------------------------------------------------------------------------- other worlds


def test_a_run_resumed_in_two_and_then_four_processes_sees_the_same_samples(
    colour_videos: Path, tmp_path: Path
) -> None:
    """The batch stays that of the first start, although the configuration has 4 clips per node."""
    assert train(1, colour_videos, tmp_path / "one", *NO_DROPOUT) == [0]
    for size, steps in ((1, 4), (2, 9), (4, 0)):
        assert (
            train(size, colour_videos, tmp_path / "more", *NO_DROPOUT, "TRAIN.MAX_STEPS", steps) == [0] * size
        )
    one, more = (metrics_of(tmp_path / name, "train_iter") for name in ("one", "more"))
    assert [(line["epoch"], line["iter"]) for line in more] == [(line["epoch"], line["iter"]) for line in one]
    assert [line["loss"] for line in more] == pytest.approx([line["loss"] for line in one], rel=1e-5)
    assert [line["lr"] for line in more] == [line["lr"] for line in one]
    log = log_of(tmp_path / "more")
    assert "4 clips per step, as at the first start; TRAIN.BATCH_SIZE would now result in 16" in log
    assert "training: 4 clips per step = 4 processes × 1" in log


def test_learning_rates_scaled_by_nodes_stay_those_of_the_first_start(
    colour_videos: Path, tmp_path: Path
) -> None:
    options = (*NO_DROPOUT, "SOLVER.BASE_LR_SCALE_NUM_SHARDS", True)
    assert train(2, colour_videos, tmp_path, *options, "TRAIN.MAX_STEPS", 1) == [0, 0]
    assert train(1, colour_videos, tmp_path, *options, "TRAIN.MAX_STEPS", 2) == [0]
    rates = [line["lr"] for line in metrics_of(tmp_path, "train_iter")]
    assert rates[0] == 0.1
    assert rates[1] > 0.09
    assert "learning rates are multiplied by 2" in log_of(tmp_path)
    # A change of the key takes effect, for the nodes of the first start.
    for scaled, lowest, highest in ((False, 0.04, 0.05), (True, 0.05, 0.1)):
        steps = len(rates) + 1
        options = (*NO_DROPOUT, "SOLVER.BASE_LR_SCALE_NUM_SHARDS", scaled, "TRAIN.MAX_STEPS", steps)
        assert train(1, colour_videos, tmp_path, *options) == [0]
        rates = [line["lr"] for line in metrics_of(tmp_path, "train_iter")]
        assert lowest < rates[-1] < highest


def saved(config: str, global_batch: int) -> TrainingState:
    """The state of a run after some steps."""
    return TrainingState(TrainingProgress(1, 2), {}, {}, {}, config, 0, global_batch, "")


def test_a_number_of_processes_that_cannot_share_the_batch_evenly_is_refused(tmp_path: Path) -> None:
    cfg = tiny_config(tmp_path, tmp_path, "TRAIN.BATCH_SIZE", 6)
    state = saved(cfg.dump(), 12)
    assert choose_global_batch(cfg, World(0, 4, 0, 1), None) == 24
    assert choose_global_batch(cfg, World(0, 4, 0, 1), state) == 12
    with pytest.raises(CheckpointError, match=r"5 processes .* 12 clips .*; start 1, 2, 3, 4, 6 or 12"):
        choose_global_batch(cfg, World(0, 5, 0, 1), state)


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


# ------------------------------------------------------------------- another configuration


@pytest.fixture
def stopped(colour_videos: Path, tmp_path: Path) -> Path:
    """The output folder of a run that ended after two steps."""
    assert run(tiny_config(colour_videos, tmp_path, *NO_DROPOUT, "TRAIN.MAX_STEPS", 2)) == 0
    return tmp_path


@pytest.mark.parametrize(
    ("key", "value", "difference"),
    [
        ("RNG_SEED", 2, "RNG_SEED: 1 → 2"),
        ("SOLVER.OPTIMIZING_METHOD", "adamw", "SOLVER.OPTIMIZING_METHOD: 'sgd' → 'adamw'"),
        ("DATA.NUM_FRAMES", 3, "DATA.NUM_FRAMES: 4 → 3"),
        ("MODEL.MODEL_NAME", "WiderTiny", "MODEL.MODEL_NAME: 'Tiny' → 'WiderTiny'"),
        ("VTN.LONGFORMER.POSITION", "sinusoidal", "VTN.LONGFORMER.POSITION: 'learned' → 'sinusoidal'"),
    ],
)
def test_changes_that_make_another_run_are_refused(
    colour_videos: Path, stopped: Path, key: str, value: Any, difference: str
) -> None:
    with pytest.raises(CheckpointError, match=r"cannot be resumed with .*TRAIN\.FORCE_RESUME") as caught:
        run(tiny_config(colour_videos, stopped, *NO_DROPOUT, key, value))
    assert difference in str(caught.value)


def test_changes_of_the_training_are_logged_and_take_effect(colour_videos: Path, stopped: Path) -> None:
    changes = ("SOLVER.WEIGHT_DECAY", 0.3, "MODEL.DROPOUT_RATE", 0.1, "SOLVER.MAX_EPOCH", 1)
    changes = (*changes, "MATMUL_PRECISION", "highest")
    assert run(tiny_config(colour_videos, stopped, "TEST.ENABLE", False, *changes)) == 0
    log = log_of(stopped)
    for difference in (
        "SOLVER.WEIGHT_DECAY: 0.0001 → 0.3",
        "MODEL.DROPOUT_RATE: 0.0 → 0.1",
        "MATMUL_PRECISION: 'high' → 'highest'",
    ):
        assert f"changed since the checkpoint: {difference}" in log
    end = read_training_state(stopped / "checkpoints" / "checkpoint_epoch_00001.pyth")
    assert end is not None
    assert [group["weight_decay"] for group in end.optimizer_state["param_groups"]] == [0.3]


def test_optimizer_states_are_restored_by_the_names_of_the_parameters(
    colour_videos: Path, stopped: Path
) -> None:
    """Biases without weight decay are a second group, which changes the order of the parameters."""
    path = stopped / "checkpoints" / "checkpoint_epoch_00000_step_000002.pyth"
    changes = ("SOLVER.ZERO_WD_1D_PARAM", True, "SOLVER.BASE_LR", 1e-12, "SOLVER.MOMENTUM", 0.999)
    assert run(tiny_config(colour_videos, stopped, *NO_DROPOUT, *changes, "TRAIN.MAX_STEPS", 3)) == 0
    after = path.with_name("checkpoint_epoch_00000_step_000003.pyth")
    one, other = (read_checkpoint(p)["optimizer_state"] for p in (path, after))
    assert [len(state["param_groups"]) for state in (one, other)] == [1, 2]
    momenta = [
        {
            name: state["state"][number]["momentum_buffer"]
            for group in state["param_groups"]
            for name, number in zip(group["param_names"], group["params"], strict=True)
        }
        for state in (one, other)
    ]
    assert list(momenta[0]) != list(momenta[1])
    assert {name: m.shape for name, m in momenta[0].items()} == {n: m.shape for n, m in momenta[1].items()}


def test_a_forced_run_restores_the_fitting_part_and_logs_the_rest(colour_videos: Path, stopped: Path) -> None:
    changes = ("SOLVER.OPTIMIZING_METHOD", "adamw", "RNG_SEED", 2, "SOLVER.MAX_EPOCH", 1)
    assert run(tiny_config(colour_videos, stopped, *NO_DROPOUT, *changes, "TRAIN.FORCE_RESUME", True)) == 0
    log = log_of(stopped)
    assert "only the fitting part of its optimiser state is loaded (it is not a state of AdamW)" in log
    assert "step 2 of epoch 1 is not valid in the changed run: epoch 1 restarts" in log
    assert [line["iter"] for line in metrics_of(stopped, "train_iter")] == [1, 2, 1, 2, 3, 4, 5, 6]


def test_a_forced_run_that_restarted_its_epoch_resumes_from_its_new_checkpoint(
    colour_videos: Path, stopped: Path
) -> None:
    changed = (*NO_DROPOUT, "RNG_SEED", 2)
    forced = ("TRAIN.FORCE_RESUME", True, "TRAIN.MAX_STEPS", 1)
    assert run(tiny_config(colour_videos, stopped, *changed, *forced)) == 0
    assert run(tiny_config(colour_videos, stopped, *changed, "TRAIN.MAX_STEPS", 3)) == 0
    assert [line["iter"] for line in metrics_of(stopped, "train_iter")] == [1, 2, 1, 2, 3]


@MODEL_REGISTRY.register("WiderTiny")
class WiderTiny(Tiny):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.hidden, self.head = nn.Linear(48, 20), nn.Linear(20, CLASSES)


def test_a_checkpoint_of_another_architecture_is_refused_even_when_forced(
    colour_videos: Path, stopped: Path
) -> None:
    options = (*NO_DROPOUT, "MODEL.MODEL_NAME", "WiderTiny", "TRAIN.FORCE_RESUME", True)
    with pytest.raises(
        CheckpointError, match=r"(?s)hidden.weight is \(16, 48\), .* of another model; restore"
    ):
        run(tiny_config(colour_videos, stopped, *options))


def test_other_segments_of_the_same_files_are_another_list() -> None:
    def digest(*segments: tuple[float, float]) -> str:
        paths = PathTable.from_strings(["a.mp4", "b.mp4"])
        bounds = np.array(segments) if segments else None
        return fingerprint(SimpleNamespace(labels=np.zeros(2), paths=paths, segments=bounds))

    digests = {digest(), digest((0, 1), (0, 1)), digest((0, 1), (0, 2))}
    assert len(digests) == 3


def test_a_run_from_the_state_in_a_file_starts_at_the_beginning_of_its_epoch(
    colour_videos: Path, stopped: Path
) -> None:
    path, output = last_checkpoint(stopped), stopped / "other"
    options = (*NO_DROPOUT, "TRAIN.CHECKPOINT_FILE_PATH", str(path), "TRAIN.MAX_STEPS", 1)
    assert run(tiny_config(colour_videos, output, *options)) == 0
    assert f"started from {path} (step 2 of epoch 1) at the start of epoch 1" in log_of(output)


# ------------------------------------------------------------------------------ averaged weights


AVERAGE = ("MODEL_EMA.ENABLE", True, "MODEL_EMA.DECAY", 0.9)


@pytest.mark.parametrize("size", [1, 2])
def test_averaged_weights_are_resumed_bit_by_bit(colour_videos: Path, tmp_path: Path, size: int) -> None:
    options = (*AVERAGE, "TEST.ENABLE", False, "TRAIN.BATCH_SIZE", 4 // size)
    assert train(size, colour_videos, tmp_path / "unbroken", *options) == [0] * size
    for steps in (8, 0):
        stop = ("TRAIN.MAX_STEPS", steps)
        assert train(size, colour_videos, tmp_path / "stopped", *options, *stop) == [0] * size
    assert_same_end(tmp_path / "unbroken", tmp_path / "stopped")
    end = read_checkpoint(tmp_path / "stopped" / "checkpoints" / "checkpoint_epoch_00003.pyth")
    assert end["ema_state"]["updates"] == 18
    assert not torch.equal(end["ema_state"]["weights"]["head.weight"], end["model_state"]["head.weight"])


def test_averaged_weights_are_evaluated_unless_the_configuration_says_otherwise(
    colour_videos: Path, tmp_path: Path
) -> None:
    found = {}
    for name, options in (
        ("none", ()),
        ("averaged", (*AVERAGE, "MODEL_EMA.DECAY", 0.999999)),
        ("ordinary", (*AVERAGE, "MODEL_EMA.EVALUATE", False)),
    ):
        options = ("MODEL.DROPOUT_RATE", 0.0, "SOLVER.MAX_EPOCH", 1, *options)
        assert run_forked(run, tiny_config(colour_videos, tmp_path / name, *options)) == 0
        found[name] = (
            metrics_of(tmp_path / name, "val_epoch")[0]["loss"],
            metrics_of(tmp_path / name, "test_final")[0]["top1_acc"],
        )
    assert found["ordinary"] == found["none"]
    # With this decay the average is hardly changed: it is as good as the untrained model.
    assert found["averaged"][0] > found["none"][0] + 0.2
    assert found["averaged"][1] < found["none"][1]
    assert "loading the averaged weights" in log_of(tmp_path / "averaged")


# ------------------------------------------------------------------- checkpoints within an epoch


def test_checkpoints_are_written_every_few_steps(colour_videos: Path, tmp_path: Path) -> None:
    options = (*NO_DROPOUT, "TRAIN.CHECKPOINT_STEPS", 4, "TRAIN.MAX_STEPS", 11)
    assert run(tiny_config(colour_videos, tmp_path, *options)) == 0
    saved = [
        Path(word).name
        for line in log_of(tmp_path).splitlines()
        if ": saved " in line
        for word in line.split()
        if word.endswith(".pyth")
    ]
    assert saved == [
        "checkpoint_epoch_00000_step_000004.pyth",
        "checkpoint_epoch_00001.pyth",
        "checkpoint_epoch_00001_step_000002.pyth",
        "checkpoint_epoch_00001_step_000005.pyth",
    ]


def test_the_lowest_errors_of_a_resumed_run_are_those_of_the_whole_run(
    colour_videos: Path, stopped: Path
) -> None:
    """The file of the validation before the stop names an error that no later validation can reach."""
    last = last_checkpoint(stopped)
    assert last is not None
    record_validation(last, {"top1_err": -1.0, "top5_err": -1.0, "videos": 7})
    options = (*NO_DROPOUT, "TEST.ENABLE", False)
    assert run(tiny_config(colour_videos, stopped, *options, "TRAIN.MAX_STEPS", 8)) == 0
    assert run(tiny_config(colour_videos, stopped, *options, "TRAIN.MAX_STEPS", 14)) == 0
    validations = metrics_of(stopped, "val_epoch")[1:]
    assert len(validations) > 2
    assert [line["min_top1_err"] for line in validations] == [-1.0] * len(validations)


def test_damaged_later_checkpoints_do_not_replace_the_new_ones(colour_videos: Path, tmp_path: Path) -> None:
    """They would be the two latest, which are kept, and each new one would be deleted."""
    options = (*NO_DROPOUT, "TEST.ENABLE", False)
    assert run(tiny_config(colour_videos, tmp_path, *options, "TRAIN.MAX_STEPS", 6)) == 0
    intact = checkpoint_path(tmp_path, TrainingProgress(1)).read_bytes()
    for step in (4, 5):
        checkpoint_path(tmp_path, TrainingProgress(1, step)).write_bytes(intact[:200])
    assert run(tiny_config(colour_videos, tmp_path, *options, "TRAIN.MAX_STEPS", 9)) == 0
    assert last_checkpoint(tmp_path) == checkpoint_path(tmp_path, TrainingProgress(1, 3))


def test_a_deterministic_run_uses_deterministic_algorithms(colour_videos: Path, tmp_path: Path) -> None:
    cfg = tiny_config(colour_videos, tmp_path, *NO_DROPOUT, "DETERMINISTIC", True, "TRAIN.MAX_STEPS", 2)
    assert run_forked(_is_deterministic, cfg) == 0


def _is_deterministic(cfg: CfgNode) -> int:
    return run(cfg) or int(not torch.are_deterministic_algorithms_enabled())
