"""Runs that are started again: no start loses progress, or takes the files of another run for its own."""

from __future__ import annotations

import gc
import signal
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from fvcore.common.config import CfgNode
from torch import Tensor

from slowfast.checkpoint import resume
from slowfast.checkpoint.state import TrainingState
from slowfast.engine.run import run
from slowfast.errors import CheckpointError, ConfigError
from tests.support.processes import run_forked
from tests.support.run_results import log_of, losses_of, metrics_of, run_nodes, run_with_signal
from tests.support.tiny import Tiny, tiny_config

NO_TEST = ("TEST.ENABLE", False)
SELDOM = (*NO_TEST, "TRAIN.CHECKPOINT_PERIOD", 10)  # a run of three epochs: only at its end
FIRST = "checkpoint_epoch_00001.pyth"


def saved(output: Path) -> list[str]:
    """The names of a run's checkpoints."""
    return sorted(path.name for path in (output / "checkpoints").glob("*.pyth"))


def signal_nodes(data: Path, output: Path, signum: int, step: int) -> list[int]:
    """Runs two nodes that both get a signal in training step ``step``, 0: none; returns the exit codes."""

    def work(cfg: CfgNode, address: str) -> int:
        return run_with_signal(cfg, signum, step, address)

    return run_nodes(2, data, output, "TRAIN.BATCH_SIZE", 2, *SELDOM, work=work)


# ---------------------------------------------------------------------------------- checkpoints


def test_a_run_of_several_ranks_keeps_the_checkpoint_it_resumed_from(
    colour_videos: Path, tmp_path: Path
) -> None:
    """It was stopped before a validation at which no checkpoint is due."""
    signalled = partial(signal_nodes, colour_videos, tmp_path)
    assert signalled(signal.SIGTERM, 6) == [143, 143]
    assert saved(tmp_path) == [FIRST]
    assert signalled(signal.SIGKILL, 3) == [-signal.SIGKILL] * 2
    assert len(metrics_of(tmp_path, "val_epoch")) == 1
    assert saved(tmp_path) == [FIRST]
    assert signalled(signal.SIGTERM, 0) == [0, 0]
    assert log_of(tmp_path).count(f"{FIRST}, the end of epoch 1") == 2


def test_the_checkpoint_of_a_validation_is_deleted_also_after_a_kill(
    colour_videos: Path, tmp_path: Path
) -> None:
    """Several ranks save before each validation; one file more would stay after each kill."""
    for signum, step in ((signal.SIGKILL, 3 + 6), (signal.SIGTERM, 0)):
        codes = signal_nodes(colour_videos, tmp_path, signum, step)
        assert codes == ([-signal.SIGKILL] * 2 if step else [0, 0])
    assert saved(tmp_path) == ["checkpoint_epoch_00002.pyth", "checkpoint_epoch_00003.pyth"]


def test_the_checkpoint_of_a_stop_at_the_end_of_an_epoch_is_deleted_later(
    colour_videos: Path, tmp_path: Path
) -> None:
    cfg = tiny_config(colour_videos, tmp_path, *SELDOM, "TRAIN.CHECKPOINT_STEPS", 6, "TRAIN.EVAL_PERIOD", 10)
    assert run_forked(run_with_signal, cfg, signal.SIGTERM, 6) == 143
    assert saved(tmp_path) == [FIRST]
    assert run(cfg) == 0
    assert saved(tmp_path) == ["checkpoint_epoch_00002.pyth", "checkpoint_epoch_00003.pyth"]


def test_the_last_checkpoint_of_a_run_stays_where_the_run_is_made_longer(
    colour_videos: Path, tmp_path: Path
) -> None:
    options = (*SELDOM, "TRAIN.CHECKPOINT_STEPS", 6, "TRAIN.EVAL_PERIOD", 10)
    for epochs in (1, 4):
        assert run(tiny_config(colour_videos, tmp_path, *options, "SOLVER.MAX_EPOCH", epochs)) == 0
    assert saved(tmp_path) == [FIRST, "checkpoint_epoch_00004.pyth"]


def test_a_checkpoint_after_some_steps_is_written_at_the_end_of_an_epoch_too(
    colour_videos: Path, tmp_path: Path
) -> None:
    cfg = tiny_config(colour_videos, tmp_path, *SELDOM, "TRAIN.CHECKPOINT_STEPS", 6, "TRAIN.EVAL_PERIOD", 10)
    assert run(cfg) == 0
    log = log_of(tmp_path)
    written = [log.find(f": saved {tmp_path}/checkpoints/checkpoint_epoch_0000{n}.pyth") for n in (1, 2, 3)]
    assert -1 < written[0] < written[1] < written[2]
    # As within an epoch, only two remain of those that only CHECKPOINT_STEPS asks for.
    assert saved(tmp_path) == ["checkpoint_epoch_00002.pyth", "checkpoint_epoch_00003.pyth"]


def test_the_validation_of_an_earlier_run_is_not_that_of_a_new_checkpoint(
    colour_videos: Path, tmp_path: Path
) -> None:
    assert run_forked(run, tiny_config(colour_videos, tmp_path, *NO_TEST)) == 0
    for path in (tmp_path / "checkpoints").glob("*.pyth"):
        path.unlink()
    cfg = tiny_config(colour_videos, tmp_path, *NO_TEST, "SOLVER.BASE_LR", 1e-6, "TRAIN.MAX_STEPS", 7)
    assert run_forked(run_with_signal, cfg, signal.SIGTERM, 6) == 143
    assert run_forked(run, cfg) == 0
    assert "the run was stopped before its validation at the end of epoch 1" in log_of(tmp_path)
    assert all(line["top1_err"] > 0 for line in metrics_of(tmp_path, "val_epoch")[3:])


def test_a_resumed_run_frees_the_state_in_its_checkpoint(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tiny_config(colour_videos, tmp_path, *NO_TEST, "TRAIN.MAX_STEPS", 6)) == 0
    states: list[weakref.ref[TrainingState]] = []
    alive: list[bool] = []
    read, forward = resume.read_training_state, Tiny.forward

    def read_and_note(path: Path) -> TrainingState:
        state = read(path)
        states.append(weakref.ref(state))
        return state

    def forward_and_look(self: Tiny, *given: Any) -> Tensor:
        if self.training:
            gc.collect()
            alive.append(states[0]() is not None)
        return forward(self, *given)

    monkeypatch.setattr(resume, "read_training_state", read_and_note)
    monkeypatch.setattr(Tiny, "forward", forward_and_look)
    assert run(tiny_config(colour_videos, tmp_path, *NO_TEST, "TRAIN.MAX_STEPS", 8)) == 0
    assert alive
    assert not any(alive)


# -------------------------------------------------------------------------------- configuration


def test_the_configuration_in_the_folder_is_that_of_the_training(colour_videos: Path, tmp_path: Path) -> None:
    """Neither a start that is refused nor a test replaces it."""

    def configuration(name: str = "config.yaml") -> dict[str, Any]:
        return yaml.safe_load((tmp_path / name).read_text())

    def config(*options: Any) -> CfgNode:
        return tiny_config(colour_videos, tmp_path, "TRAIN.MAX_STEPS", 2, *options)

    assert run(config(*NO_TEST)) == 0
    trained = configuration()
    with pytest.raises(CheckpointError, match=r"RNG_SEED: 1 → 7.*restore the former value"):
        run(config("RNG_SEED", 7))
    with pytest.raises(ConfigError, match="Foo"):
        run(config("MODEL.MODEL_NAME", "Foo"))
    assert run(config("TRAIN.ENABLE", False, "TEST.NUM_ENSEMBLE_VIEWS", 1)) == 0
    assert configuration() == trained
    assert configuration("config_test.yaml")["TEST"]["NUM_ENSEMBLE_VIEWS"] == 1
    assert run(config(*NO_TEST, "SOLVER.BASE_LR", 0.01)) == 0
    assert configuration()["SOLVER"]["BASE_LR"] == 0.01


# ------------------------------------------------------------------------------ metrics of epochs


@pytest.mark.parametrize("step", [4, 6])
def test_the_metrics_of_an_epoch_are_those_of_all_its_steps_after_a_stop(
    colour_videos: Path, tmp_path: Path, step: int
) -> None:
    cfg = tiny_config(colour_videos, tmp_path, *NO_TEST, "SOLVER.MAX_EPOCH", 1)
    assert run_forked(run_with_signal, cfg, signal.SIGTERM, step) == 143
    assert run_forked(run, cfg) == 0
    losses = losses_of(tmp_path)
    assert len(losses) == 6
    assert [line["loss"] for line in metrics_of(tmp_path, "train_epoch")] == [
        pytest.approx(sum(losses) / 6, abs=1e-6)
    ]
