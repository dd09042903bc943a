"""Runs of several processes have the metrics of one, also where clips are mixed and augmented."""

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


@pytest.fixture(scope="module")
def one_process(colour_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run of one process, without dropout, whose random numbers depend on the process."""
    output = tmp_path_factory.mktemp("one_process")
    train_distributed(1, colour_videos, output, "MODEL.DROPOUT_RATE", 0.0)
    return output


@pytest.mark.parametrize("size", [2, 4])
def test_several_processes_give_the_metrics_of_one(
    one_process: Path, colour_videos: Path, tmp_path: Path, size: int
) -> None:
    train_distributed(size, colour_videos, tmp_path, "MODEL.DROPOUT_RATE", 0.0)
    one, several = (metrics_of(output, "train_iter") for output in (one_process, tmp_path))
    assert [line["loss"] for line in several] == pytest.approx([line["loss"] for line in one], rel=1e-5)
    assert [line["top1_err"] for line in several] == [line["top1_err"] for line in one]
    for name in ("loss", "top1_err", "videos"):
        expected, found = (
            [line[name] for line in metrics_of(output, "val_epoch")] for output in (one_process, tmp_path)
        )
        assert found == pytest.approx(expected, rel=1e-4)
    ours, theirs = (load_predictions(output / "predictions.npz") for output in (one_process, tmp_path))
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


MIXED = (
    *("MODEL.DROPOUT_RATE", 0.0, "MIXUP.ENABLE", True),
    *("AUG.ENABLE", True, "AUG.NUM_SAMPLE", 2, "SOLVER.MAX_EPOCH", 2, "TEST.ENABLE", False),
)


@pytest.mark.parametrize("loss", ["soft_cross_entropy", "bce_logit"])
def test_two_processes_mix_and_augment_like_one(colour_videos: Path, tmp_path: Path, loss: str) -> None:
    mixed = (*MIXED, "MODEL.LOSS_FUNC", loss)
    train_distributed(1, colour_videos, tmp_path / "one", *mixed)
    train_distributed(2, colour_videos, tmp_path / "two", *mixed)
    one, two = (metrics_of(tmp_path / name, "train_iter") for name in ("one", "two"))
    assert len(one) == 12
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], rel=1e-5)
    # Validation does not mix classes, so its errors can be counted.
    assert all("top1_err" in line for line in metrics_of(tmp_path / "one", "val_epoch"))
