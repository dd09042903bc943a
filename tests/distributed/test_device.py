"""The choice of devices: a process computes on the GPU that is its own, or says why it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.fsdp  # once here instead of in each process
from torch import nn

from slowfast.distributed import world as world_module
from slowfast.distributed.blocking import current_blocking_call
from slowfast.distributed.device import (
    CPU,
    choose_device,
    choose_rank_device,
    collective_backends,
    device_errors,
    set_matmul_precision,
    upload,
    use_device,
)
from slowfast.distributed.parallel import Parallelism, distribute
from slowfast.distributed.world import World, free_local_address, join
from slowfast.engine import run as run_module
from slowfast.engine.evaluated_model import EvaluatedModel
from slowfast.engine.run import run
from slowfast.errors import ConfigError, DeviceError, DistributedError
from tests.support.processes import run_all, run_ranks
from tests.support.tiny import tiny_config


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns a function that makes this process see a number of GPUs of some kind."""

    def show(count: int, kind: str = "cuda") -> None:
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_: torch.device(kind))

    return show


def as_started_by_torchrun(monkeypatch: pytest.MonkeyPatch, *, local_size: int) -> None:
    """Sets the variables of rank 0 of one process, on a node of ``local_size`` processes."""
    variables = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": local_size}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))


def test_a_process_that_sees_one_gpu_takes_it_whatever_its_number(gpus: Any) -> None:
    """srun --gpus-per-task=1, and containers of one GPU each."""
    gpus(1)
    for rank in range(8):
        assert choose_rank_device(8, local_rank=rank, local_size=8) == (torch.device("cuda:0"), "")


def test_processes_that_see_all_gpus_take_one_each(gpus: Any) -> None:
    gpus(8)
    taken = [choose_rank_device(8, local_rank=rank, local_size=4)[0] for rank in range(4)]
    assert taken == [torch.device("cuda", rank) for rank in range(4)]


def test_more_processes_than_gpus_are_refused_with_both_numbers(gpus: Any) -> None:
    gpus(4)
    with pytest.raises(ConfigError, match=r"8 processes, but this one sees 4 GPUs.*NUM_GPUS 0"):
        choose_rank_device(8, local_rank=0, local_size=8)


def test_without_gpus_or_with_num_gpus_0_it_is_the_cpu(gpus: Any) -> None:
    gpus(0)
    device, warning = choose_rank_device(8, local_rank=3, local_size=8)
    assert device == CPU
    assert warning == "NUM_GPUS is 8, but this process sees no GPU: using the CPU"
    gpus(4)
    assert choose_rank_device(0, local_rank=0, local_size=8) == (CPU, "")
    assert choose_device(0) == CPU


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps"])
def test_one_process_takes_the_accelerator_of_this_build(gpus: Any, kind: str) -> None:
    gpus(1, kind)
    assert choose_device(1) == torch.device(kind, 0)
    assert choose_rank_device(1, local_rank=0, local_size=1)[0] == torch.device(kind, 0)


def test_several_processes_cannot_share_an_apple_gpu(gpus: Any) -> None:
    gpus(1, "mps")
    device, warning = choose_rank_device(1, local_rank=1, local_size=2)
    assert device == CPU
    assert "mps serves one process only" in warning


def test_collectives_run_on_the_device_and_on_the_cpu() -> None:
    assert collective_backends(torch.device("cuda", 0), "nccl") == "cpu:gloo,cuda:nccl"
    assert collective_backends(torch.device("xpu", 0), "nccl") == "cpu:gloo,xpu:xccl"
    assert collective_backends(torch.device("cuda", 0), "gloo") == "gloo"
    assert collective_backends(CPU, "nccl") == "gloo"


def test_a_small_tensor_is_uploaded_from_pinned_memory_without_waiting(
    monkeypatch: pytest.MonkeyPatch, gpus: Any
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: calls.append("pinned") or tensor)
    monkeypatch.setattr(torch.Tensor, "to", lambda *_, **options: calls.append(options))
    gpus(1)
    upload(torch.ones(2), torch.device("cuda", 0))
    assert calls == ["pinned", {"non_blocking": True}]
    calls.clear()
    gpus(0)  # pinned memory needs a driver
    upload(torch.ones(2), CPU)
    assert calls == [{"non_blocking": False}]


def test_under_torchrun_a_missing_gpu_is_logged(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: Any
) -> None:
    as_started_by_torchrun(monkeypatch, local_size=1)
    options = ("TRAIN.MAX_STEPS", 1, "TEST.ENABLE", False, "NUM_GPUS", 2)
    gpus(0)
    assert run(tiny_config(colour_videos, tmp_path, *options)) == 0
    log = (tmp_path / "stdout.log").read_text()
    assert "NUM_GPUS is 2, but this process sees no GPU: using the CPU" in log


def _has_a_broken_gpu(rank: int, cfg: Any, address: str) -> int:
    """Rank 1's device fails as one with a driver that is too old."""

    def use(device: torch.device) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.accelerator, "set_device_index", _too_old)
            use_device(torch.device("cuda", 0))

    if rank == 1:
        run_module.use_device = use  # this process ends with the test
    return _is_refused(cfg, address, "cuda:0 cannot be used (the driver is too old)")


def _too_old(index: int) -> None:
    raise RuntimeError("the driver is too old\nmore lines")


def _is_refused(cfg: Any, address: str, message: str) -> int:
    try:
        run(cfg, address)
    except (ConfigError, DeviceError, DistributedError) as error:
        return 0 if message in str(error) else 3
    return 4


def _configs(data: Path, output: Path, *changes: Any) -> list[Any]:
    shared = ("NUM_SHARDS", 2, "TRAIN.BATCH_SIZE", 2, "DIST_START_TIMEOUT", 60.0, *changes)
    return [tiny_config(data, output, *shared, "SHARD_ID", shard) for shard in range(2)]


def test_under_torchrun_too_few_gpus_are_an_error_in_the_log(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: Any
) -> None:
    as_started_by_torchrun(monkeypatch, local_size=8)
    gpus(4)
    batches = ("TRAIN.BATCH_SIZE", 8, "TEST.BATCH_SIZE", 8)
    with pytest.raises(ConfigError, match="8 processes, but this one sees 4 GPUs"):
        run(tiny_config(colour_videos, tmp_path, "NUM_GPUS", 8, *batches))
    assert "8 processes, but this one sees 4 GPUs" in (tmp_path / "stdout.log").read_text()


def test_a_gpu_that_cannot_be_used_on_one_rank_ends_all_ranks_at_once(
    colour_videos: Path, tmp_path: Path
) -> None:
    address = free_local_address()
    arguments = [(rank, cfg, address) for rank, cfg in enumerate(_configs(colour_videos, tmp_path))]
    assert run_all(_has_a_broken_gpu, arguments, seconds=40) == [0, 0]
    assert "cuda:0 cannot be used" in (tmp_path / "stdout.log").read_text()


def test_a_gpu_that_cannot_be_used_ends_a_run_of_one_process_with_a_remedy(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: Any
) -> None:
    gpus(1)
    monkeypatch.setattr(torch.accelerator, "set_device_index", _too_old)
    with pytest.raises(DeviceError, match=r"cuda:0 cannot be used \(the driver is too old\).*NUM_GPUS 0"):
        run(tiny_config(colour_videos, tmp_path, "NUM_GPUS", 1))
    assert "cuda:0 cannot be used" in (tmp_path / "stdout.log").read_text()


def _joins_without_a_sum(rank: int, address: str) -> int:
    """Joins over a network whose sums do not arrive, as NCCL's between GPUs that do not reach each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dist, "all_reduce", lambda tensor: None)
        host, port = address.removeprefix("tcp://").split(":")
        store = dist.TCPStore(host, int(port), 2, is_master=rank == 0)
        try:
            join(World(rank, 2), store, backend="gloo", timeout=60.0)
        except DistributedError as error:
            store.set(f"refused {rank}", "")
            if rank == 0:  # its end closes the store, which the other rank may still need to connect
                store.wait(["refused 1"])
            return 0 if "the sum of a 1 from each rank is 1;" in str(error) else 3
    return 4


def test_a_first_sum_that_does_not_arrive_is_an_error_and_not_a_later_hang() -> None:
    address = free_local_address()
    assert run_all(_joins_without_a_sum, [(rank, address) for rank in range(2)]) == [0, 0]


def test_all_ranks_try_their_devices_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank that waits for the sum of the GPUs, and one that waits for that of the CPUs, wait for ever."""
    tried: list[str] = []

    def sum_of_ones(device: torch.device) -> float:
        tried.append(device.type)
        return 8.0

    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(world_module, "_sum_of_ones", sum_of_ones)
    for rank in range(8):
        join(
            World(rank, 8, rank, 8, torch.device("cuda", rank)),
            dist.HashStore(),
            backend="nccl",
            timeout=60.0,
        )
    assert tried == ["cpu", "cuda"] * 8


def test_processes_that_share_a_gpu_are_told_to_use_one_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """``torchrun --nproc-per-node 2`` with one GPU: each process sees one, NCCL that it is the same."""

    def refuse(device: torch.device) -> float:
        raise dist.DistBackendError(
            "NCCL error in: NCCLUtils.hpp:275, invalid usage (run with NCCL_DEBUG=WARN for details)\n"
            "Last error:\nDuplicate GPU detected : rank 1 and rank 0 both on CUDA device 10"
        )

    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(world_module, "_sum_of_ones", refuse)
    words = "^rank 1 of 2: Duplicate GPU detected : rank 1 .* as many processes per node as.*gloo$"
    with pytest.raises(DistributedError, match=words):
        join(World(1, 2, 1, 2), dist.HashStore(), backend="nccl", timeout=60.0)


def _synchronizes(world: World) -> int:
    """Counts the waits for the device at the end of what all ranks take part in."""
    waits: list[str] = []

    def note(device: torch.device) -> None:
        call = current_blocking_call()
        waits.append(call.what if call else "nothing")

    world_module.synchronize = note  # this process ends with the test
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    distribute(model, model, world, Parallelism())
    with EvaluatedModel(model, world, sharded=False).ready():
        pass
    sharded = nn.Linear(2, 2)
    evaluated = EvaluatedModel(sharded, world, sharded=True)
    distribute(sharded, sharded, world, Parallelism(sharded=True))
    with evaluated.ready():
        pass
    expected = [
        "the model's weights on all ranks", "the buffers of rank 0", "the model's weights on all ranks",
        "the buffers of rank 0", "the weights to be evaluated",
    ]  # fmt: skip
    assert waits == expected
    return 0


def test_ranks_count_as_waiting_until_the_device_has_done_the_work() -> None:
    """Otherwise the watchdog would not see a rank that waits in the queue of its GPU."""
    assert run_ranks(_synchronizes, 2) == [0, 0]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("tried to allocate 2 GiB"), r"full; any of these needs less: A 1; B 2"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), r"full; any of these needs less: A 1"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GiB)"), r"full; any of these needs less"),
        (torch.AcceleratorError("device-side assert triggered"), r"\(device-side assert triggered\).*MODEL"),
    ],
)  # fmt: skip
def test_errors_of_a_device_have_a_remedy(error: RuntimeError, message: str) -> None:
    with pytest.raises(DeviceError, match=message), device_errors(CPU, "A 1", "B 2"):
        raise error


def test_other_errors_of_torch_are_not_changed() -> None:
    with pytest.raises(RuntimeError, match="shapes"), device_errors(CPU, "A 1"):
        raise RuntimeError("shapes do not fit")


@pytest.mark.parametrize("has_tf32", [True, False])  # a T4 has none
@pytest.mark.parametrize(("precision", "allowed"), [("highest", False), ("high", True)])
def test_tensor_float_32_is_allowed_on_accelerators_only(
    precision: str, allowed: bool, has_tf32: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_tf32_supported", lambda: has_tf32)
    set_to: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", set_to.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not allowed)
    assert set_matmul_precision(torch.device("cpu"), precision) == ""
    assert set_to == []
    words = set_matmul_precision(torch.device("cuda"), precision)
    assert set_to == [precision]
    assert torch.backends.cudnn.allow_tf32 == allowed
    assert ("TensorFloat32" in words) == (allowed and has_tf32)
