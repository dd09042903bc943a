"""Processes on several GPUs train like one: replicated, sharded, and with synchronised batch norms."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from slowfast.distributed.device import count_accelerators
from slowfast.distributed.world import free_local_address
from tests.support import tiny
from tests.support.run_results import assert_same_metrics
from tests.support.tiny_models import NO_DROPOUT, SMALL_VTN

VTN = (
    *SMALL_VTN, *NO_DROPOUT, "TRAIN.MAX_STEPS", 3, "TEST.ENABLE", False, "MATMUL_PRECISION", "highest",
)  # fmt: skip
# A backbone with batch norms.
RESNET = (*VTN, "VTN.BACKBONE.NAME", "test_resnet", "VTN.BACKBONE.ARGS", {})


def start(data: Path, output: Path, *options: Any, **variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, tiny.__file__, str(data), str(output), "", *map(str, options)]
    return _open(command, **variables)


def _open(command: list[str], **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, env={**os.environ, **variables}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def wait_for(processes: list[subprocess.Popen[str]]) -> None:
    """Waits until all have ended well; ends them where that takes too long, so that the GPU is free again."""
    try:
        shown = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    codes = [process.returncode for process in processes]
    last = [text.strip().rpartition("\n")[2] for text in shown]
    assert not any(codes), "\n".join([f"exit codes {codes}: {last}", *shown])


def train(data: Path, output: Path, *options: Any) -> Path:
    """Trains in as many processes as NUM_GPUS says."""
    wait_for([start(data, output, *options)])
    return output


def train_as_torchrun(data: Path, output: Path, gpus: list[int], *options: Any) -> Path:
    """Trains in one process per entry of ``gpus``, which sees that GPU only."""
    # The GPUs of this process may have other numbers on the node.
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    names = visible or [str(number) for number in range(count_accelerators())]
    host, port = free_local_address().removeprefix("tcp://").split(":")
    processes = [
        start(
            data, output, "NUM_GPUS", len(gpus), *options,
            RANK=str(rank), WORLD_SIZE=str(len(gpus)), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(len(gpus)),
            MASTER_ADDR=host, MASTER_PORT=port, CUDA_VISIBLE_DEVICES=names[gpu],
        )
        for rank, gpu in enumerate(gpus)
    ]  # fmt: skip
    wait_for(processes)
    return output


@pytest.fixture(scope="module")
def one_process(colour_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(colour_videos, tmp_path_factory.mktemp("one"), "NUM_GPUS", 1, *VTN)


@pytest.mark.usefixtures("device")
def test_two_processes_on_one_gpu_have_the_metrics_of_one(
    colour_videos: Path, tmp_path: Path, one_process: Path
) -> None:
    """gloo: NCCL does not accept two processes on one GPU."""
    two = train_as_torchrun(colour_videos, tmp_path, [0, 0], *VTN, "DIST_BACKEND", "gloo")
    assert_same_metrics(one_process, two, rel=1e-3)


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
@pytest.mark.usefixtures("two_gpus")
def test_two_gpus_have_the_metrics_of_one(
    colour_videos: Path, tmp_path: Path, one_process: Path, mode: str
) -> None:
    two = train(colour_videos, tmp_path, "NUM_GPUS", 2, *VTN, "PARALLEL.MODE", mode)
    assert_same_metrics(one_process, two, rel=1e-3)


@pytest.mark.usefixtures("two_gpus")
def test_processes_that_each_see_one_gpu_use_it(
    colour_videos: Path, tmp_path: Path, one_process: Path
) -> None:
    two = train_as_torchrun(colour_videos, tmp_path, [0, 1], *VTN)
    assert_same_metrics(one_process, two, rel=1e-3)
    log = (two / "stdout.log").read_text()
    assert "processes: 2, this is rank 0 on cuda:0" in log


@pytest.mark.usefixtures("two_gpus")
def test_synchronised_batch_norms_have_the_metrics_of_one_gpu(colour_videos: Path, tmp_path: Path) -> None:
    one = train(colour_videos, tmp_path / "one", "NUM_GPUS", 1, *RESNET)
    options = ("NUM_GPUS", 2, *RESNET, "BN.NORM_TYPE", "sync_batchnorm")
    assert_same_metrics(one, train(colour_videos, tmp_path / "two", *options), rel=5e-3)


def test_nccl_sums_on_one_gpu(device: torch.device) -> None:
    """The first collective of a run, in a world of one."""
    if device.type != "cuda":
        pytest.skip(f"NCCL needs CUDA; this is {device.type}")
    host, port = free_local_address().removeprefix("tcp://").split(":")
    program = (
        "import torch, torch.distributed as dist\n"
        f"store = dist.TCPStore('{host}', {port}, 1, is_master=True)\n"
        "from slowfast.distributed.world import World, join, disconnect\n"
        "join(World(0, 1, device=torch.device('cuda', 0)), store, backend='nccl', timeout=60)\n"
        "disconnect()\n"
    )
    wait_for([_open([sys.executable, "-c", program])])
