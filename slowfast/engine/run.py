"""A whole run: the processes are started, then each trains and tests as the configuration says."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from slowfast import __version__
from slowfast.config.check import check_batch_sizes
from slowfast.distributed import (
    Processes,
    World,
    choose_processes,
    connect,
    disconnect,
    free_local_address,
    shard_world,
    started_by_torchrun,
    torchrun_world,
)
from slowfast.engine.interrupt import Interrupt, Interrupted
from slowfast.engine.launch import launch
from slowfast.engine.resume import config_differences
from slowfast.engine.run_lock import FolderInUseError, lock_folder
from slowfast.engine.testing import run_test
from slowfast.engine.train import train
from slowfast.errors import ConfigError, DistributedError
from slowfast.files import write_text
from slowfast.log import get_logger, setup_logging

logger = get_logger(__name__)


def run(cfg: Any, init_method: str = "") -> int:
    """Trains and tests as ``cfg`` says, in as many processes as it and this machine give.

    Args:
        init_method: where several machines meet, ``tcp://HOST:PORT``; started by ``torchrun``, its own
            address is used.

    Returns:
        The exit code: 0, or 130 / 143 after Ctrl-C / SIGTERM.

    Raises:
        SlowFastError: for all that a user can mend.
    """
    if started_by_torchrun():
        world = torchrun_world(on_gpu=False)
        on_gpu = cfg.NUM_GPUS > 0 and torch.cuda.device_count() >= world.local_size
        return run_process(cfg, torchrun_world(on_gpu=on_gpu), "env://")
    processes = choose_processes(cfg.NUM_GPUS, present=torch.cuda.device_count())
    if cfg.NUM_SHARDS > 1 and not init_method:
        raise ConfigError(
            [f"NUM_SHARDS = {cfg.NUM_SHARDS}: give --init_method tcp://HOST:PORT, an address of machine 0"]
        )
    address = init_method or free_local_address()
    if processes.count == 1:
        return _run_local(0, cfg, processes, address)
    return launch(_run_local, processes.count, (cfg, processes, address))


def _run_local(local_rank: int, cfg: Any, processes: Processes, address: str) -> int:
    world = shard_world(
        processes=processes, local_rank=local_rank, num_shards=cfg.NUM_SHARDS, shard_id=cfg.SHARD_ID
    )
    return run_process(cfg, world, address, remark=processes.remark)


def run_process(cfg: Any, world: World, address: str, remark: str = "") -> int:
    """Runs this process's part; see :func:`run`.

    Args:
        address: where the processes meet.
        remark: about the processes, for the log.
    """
    setup_logging(cfg.OUTPUT_DIR, world.rank)
    with Interrupt() as interrupt, ExitStack() as stack:
        try:
            if problems := check_batch_sizes(cfg, world.local_size):
                raise ConfigError(problems)
            connect(world, init_method=address, backend=cfg.DIST_BACKEND)
            if remark:
                logger.warning(remark)
            logger.info("processes: %d, this is rank %d on %s", world.size, world.rank, _device_name(world))
            if busy := crowded_cores(cfg.DATA_LOADER.NUM_WORKERS, world.local_size, usable_cores()):
                logger.warning(busy)
            _check_alike(cfg, world)
            _hold_folder(cfg.OUTPUT_DIR, world, stack)
            if world.is_main:
                write_text(Path(cfg.OUTPUT_DIR) / "config.yaml", cfg.dump())
            trained = train(cfg, world, interrupt) if cfg.TRAIN.ENABLE else None
            if cfg.TEST.ENABLE:
                run_test(cfg, world, interrupt, trained=trained)
        except Interrupted as interrupted:
            logger.warning("%s", interrupted)
            return interrupted.exit_code
        finally:
            disconnect()
    return 0


def _check_alike(cfg: Any, world: World) -> None:
    """Raises ``DistributedError`` on all ranks unless all have the same configuration and version."""
    own = cfg.clone()
    own.defrost()
    own.SHARD_ID = 0
    first, *others = world.share_objects((__version__, own.dump()))
    for rank, (version, config) in enumerate(others, start=1):
        if version != first[0]:
            raise DistributedError(
                f"rank {rank} runs version {version}, rank 0 {first[0]}; install the same everywhere"
            )
        if differences := config_differences(first[1], config):
            raise DistributedError(
                f"rank {rank} has another configuration than rank 0: {'; '.join(differences)}; align them"
            )


def _hold_folder(folder: str, world: World, stack: ExitStack) -> None:
    """Keeps other runs out of ``folder`` until ``stack`` ends; raises on all ranks when one is in there."""
    failure: FolderInUseError | None = None
    if world.is_main:
        try:
            stack.enter_context(lock_folder(folder))
        except FolderInUseError as error:
            failure = error
    failure = world.share_objects(failure)[0]
    if failure is not None:
        raise failure


def usable_cores() -> int:
    """Returns the cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def crowded_cores(num_workers: int, local_size: int, cores: int) -> str:
    """Returns a remark where a machine's loader workers are more than its cores, else an empty string."""
    if num_workers * local_size <= cores:
        return ""
    return (
        f"DATA_LOADER.NUM_WORKERS is {num_workers} for each process, but there are {cores} cores here; "
        f"{max(cores // local_size, 1)} would be faster unless the storage is slow"
    )


def _device_name(world: World) -> str:
    if world.device.type == "cuda":
        return f"{world.device} ({torch.cuda.get_device_name(world.device)})"
    return f"the CPU, {torch.get_num_threads()} threads of {usable_cores()} cores"
