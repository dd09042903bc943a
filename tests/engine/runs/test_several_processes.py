"""Runs of several processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from fvcore.common.config import CfgNode

from slowfast.distributed.world import free_local_address
from slowfast.engine.prediction_file import load_predictions
from slowfast.engine.run import run
from slowfast.errors import ConfigError, DistributedError
from slowfast.exit_status import exit_status_of
from tests.support.processes import run_all
from tests.support.run_results import metrics_of, run_nodes, run_with_signal, train_distributed
from tests.support.tiny import tiny_config


def test_two_processes_give_the_metrics_of_one(colour_videos: Path, tmp_path: Path) -> None:
    options = ("MODEL.DROPOUT_RATE", 0.0)
    train_distributed(1, colour_videos, tmp_path / "one", *options)
    train_distributed(2, colour_videos, tmp_path / "two", *options)
    one, two = (metrics_of(tmp_path / name, "train_iter") for name in ("one", "two"))
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], rel=1e-5)
    assert [line["top1_err"] for line in two] == [line["top1_err"] for line in one]
    for name in ("loss", "top1_err", "videos"):
        one_val, two_val = (metrics_of(tmp_path / where, "val_epoch") for where in ("one", "two"))
        assert [line[name] for line in two_val] == pytest.approx([line[name] for line in one_val], rel=1e-4)
    ours, theirs = (load_predictions(tmp_path / name / "predictions.npz") for name in ("one", "two"))
    assert ours.paths == theirs.paths
    assert abs(ours.scores - theirs.scores).max() < 1e-5


def test_a_signal_to_one_of_two_processes_stops_both(colour_videos: Path, tmp_path: Path) -> None:
    def work(cfg: CfgNode, address: str) -> int:
        return run_with_signal(cfg, signal.SIGTERM, (0, 9)[cfg.SHARD_ID], address)

    assert run_nodes(2, colour_videos, tmp_path, "TRAIN.BATCH_SIZE", 2, work=work) == [143, 143]
    assert (tmp_path / "checkpoints" / "checkpoint_epoch_00001_step_000003.pyth").exists()


def test_processes_with_different_configurations_stop_at_the_start(
    colour_videos: Path, tmp_path: Path
) -> None:
    assert run_nodes(2, colour_videos, tmp_path, work=_is_refused_as_different) == [0, 0]


def _is_refused_as_different(cfg: CfgNode, address: str) -> int:
    cfg.defrost()
    cfg.SOLVER.BASE_LR = (0.1, 0.2)[cfg.SHARD_ID]
    try:
        run(cfg, address)
    except DistributedError as error:
        return (
            0
            if "rank 1 has another configuration than rank 0: SOLVER.BASE_LR: 0.1 → 0.2" in str(error)
            else 2
        )
    return 1


def test_a_batch_that_the_processes_of_torchrun_cannot_share_is_an_error_of_the_configuration(
    colour_videos: Path, tmp_path: Path
) -> None:
    """The exit status is that of the command line."""
    port = free_local_address().rsplit(":")[-1]
    cfg = tiny_config(colour_videos, tmp_path, "TRAIN.BATCH_SIZE", 3, "TEST.BATCH_SIZE", 4)
    assert run_all(_status_under_torchrun, [(cfg, rank, port) for rank in range(2)]) == [2, 2]
    assert not (tmp_path / "checkpoints").exists()


def _status_under_torchrun(cfg: CfgNode, rank: int, port: str) -> int:
    ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ.update(ranks, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    try:
        return run(cfg)
    except ConfigError as error:
        return exit_status_of(error) if "TRAIN.BATCH_SIZE = 3" in str(error) else 1


def test_several_nodes_need_an_address(colour_videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--init_method tcp://HOST:PORT"):
        run(tiny_config(colour_videos, tmp_path, "NUM_SHARDS", 2))
