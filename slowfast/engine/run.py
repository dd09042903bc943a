"""A whole run: the processes are started, then each trains and tests as the configuration says."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from slowfast.checkpoint.resume import NODE_KEYS, config_differences
from slowfast.config.check import check_batch_sizes
from slowfast.distributed.blocking import blocking_on
from slowfast.distributed.code_version import running_code
from slowfast.distributed.launch import launch
from slowfast.distributed.rendezvous import Deadline, PeerInfo, meet
from slowfast.distributed.watchdog import Watchdog
from slowfast.distributed.world import (
    Processes,
    World,
    choose_network,
    choose_processes,
    disconnect,
    free_local_address,
    join,
    shard_world,
    started_by_torchrun,
    torchrun_world,
)
from slowfast.engine.dry_run import rehearse
from slowfast.engine.run_lock import FolderInUseError, lock_folder
from slowfast.engine.seeding import compute_deterministically
from slowfast.engine.test import run_test
from slowfast.engine.training.train_loop import train
from slowfast.errors import ConfigError, DistributedError, OutputError, SlowFastError, describe_error
from slowfast.exit_status import EXIT_ERROR
from slowfast.files import write_text
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.log import get_logger, log_file, log_to_file, setup_logging

logger = get_logger(__name__)

Work = Callable[[Any, World, Interrupt], None]
"""What each process does with the configuration, once all are there."""


def run(cfg: Any, init_method: str = "", *, dry_run: bool = False, work: Work | None = None) -> int:
    """Trains and tests as ``cfg`` says, in as many processes as it and this machine give.

    Args:
        init_method: where several machines meet, ``tcp://HOST:PORT``; started by ``torchrun``, its own
            address is used.
        dry_run: only build everything and take a few steps, and say what they take; nothing is written.
        work: done in place of training and testing; can be pickled.

    Returns:
        The exit code: 0, or 130 / 143 after Ctrl-C / SIGTERM.

    Raises:
        SlowFastError: for all that a user can mend.
    """
    if started_by_torchrun():
        world = torchrun_world(on_gpu=False)
        on_gpu = cfg.NUM_GPUS > 0 and torch.cuda.device_count() >= world.local_size
        return run_process(cfg, torchrun_world(on_gpu=on_gpu), "env://", dry_run=dry_run, work=work)
    processes = choose_processes(cfg.NUM_GPUS, present=torch.cuda.device_count())
    if cfg.NUM_SHARDS > 1 and not init_method:
        raise ConfigError(
            f"NUM_SHARDS = {cfg.NUM_SHARDS}: give --init_method tcp://HOST:PORT, an address of machine 0"
        )
    address = init_method or free_local_address()
    if processes.count == 1:
        return _run_local(0, cfg, processes, address, dry_run, work)
    return launch(_run_local, processes.count, (cfg, processes, address, dry_run, work))


def _run_local(
    local_rank: int, cfg: Any, processes: Processes, address: str, dry_run: bool, work: Work | None
) -> int:
    world = shard_world(
        processes=processes, local_rank=local_rank, num_shards=cfg.NUM_SHARDS, shard_id=cfg.SHARD_ID
    )
    return run_process(cfg, world, address, remark=processes.remark, dry_run=dry_run, work=work)


def run_process(
    cfg: Any,
    world: World,
    address: str,
    *,
    remark: str = "",
    dry_run: bool = False,
    work: Work | None = None,
) -> int:
    """Runs this process's part; see :func:`run`.

    Args:
        address: where the processes meet.
        remark: about the processes, for the log.
    """
    watchdog: Watchdog | None = None
    with Interrupt() as interrupt, ExitStack() as stack:
        try:
            problem = _prepare(cfg, world, dry_run=dry_run)
            if world.size > 1:
                watchdog = stack.enter_context(_meet_others(cfg, world, address, problem, interrupt))
                with blocking_on("a connection to all ranks", cfg.DIST_START_TIMEOUT, "DIST_START_TIMEOUT"):
                    join(world, watchdog.store, backend=cfg.DIST_BACKEND, timeout=cfg.DIST_TIMEOUT)
            elif problem is not None:
                raise problem
            _log_placement(cfg, world, remark)
            if work is not None:
                work(cfg, world, interrupt)
            elif dry_run:
                rehearse(cfg, world, interrupt)
            else:
                _train_and_test(cfg, world, interrupt, stack)
        except Interrupted as interrupted:
            logger.warning("%s", interrupted)
            if watchdog is not None:
                watchdog.stop(interrupted.signum)
            return interrupted.exit_code
        except BaseException as error:
            return _end_all(_as_user_error(error, cfg.OUTPUT_DIR), world, watchdog)
        finally:
            disconnect()
    return 0


def _prepare(cfg: Any, world: World, *, dry_run: bool) -> SlowFastError | None:
    """Does what can be done before the processes meet; returns what is wrong, for all of them to know."""
    if world.device.type == "cuda":
        torch.cuda.set_device(world.device)
    if cfg.DETERMINISTIC:
        compute_deterministically()
    try:
        setup_logging(None if dry_run else cfg.OUTPUT_DIR, world.rank)
    except OSError as error:
        return OutputError(cfg.OUTPUT_DIR, error)
    problems = check_batch_sizes(cfg, world.local_size)
    return ConfigError(*problems) if problems else None


def _meet_others(
    cfg: Any, world: World, address: str, problem: SlowFastError | None, interrupt: Interrupt
) -> Watchdog:
    """Meets the other processes, makes sure that all are alike, and returns who watches over them.

    Raises:
        DistributedError: the same on all ranks.
    """
    if network := choose_network(world, address):
        logger.info("network: gloo uses %s, by which rank 0 is reached", network)
    card = PeerInfo(world.rank, world.size, running_code(), cfg.dump(), str(problem or ""))
    deadline = Deadline(cfg.DIST_START_TIMEOUT, on_wait=interrupt.raise_if_requested)
    differences = functools.partial(config_differences, harmless=NODE_KEYS)
    store = meet(card, address, deadline, differences=differences)
    return Watchdog(store, world, timeout=cfg.DIST_TIMEOUT, log_file=log_file(), on_stop=interrupt.request)


def _as_user_error(error: BaseException, folder: str) -> BaseException:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return OutputError(folder, error)
    return error


def _end_all(error: BaseException, world: World, watchdog: Watchdog | None) -> int:
    """Ends all processes because of ``error``: raises it, or returns the exit code when people know of it."""
    if watchdog is not None:
        code = watchdog.fail(error)
        if code is not None:
            return code
    else:
        log_to_file(describe_error(error))
        # One word from each machine is enough where the processes did not meet.
        if isinstance(error, DistributedError) and world.local_rank > 0:
            return EXIT_ERROR
    raise error


def _train_and_test(cfg: Any, world: World, interrupt: Interrupt, stack: ExitStack) -> None:
    _lock_output_dir(cfg.OUTPUT_DIR, world, stack)
    if world.is_main:
        write_text(Path(cfg.OUTPUT_DIR) / "config.yaml", cfg.dump())
    trained = train(cfg, world, interrupt) if cfg.TRAIN.ENABLE else None
    if cfg.TEST.ENABLE:
        run_test(cfg, world, interrupt, trained=trained)


def _log_placement(cfg: Any, world: World, remark: str) -> None:
    """Logs the place of this process, and what is odd about it."""
    if remark:
        logger.warning(remark)
    logger.info("processes: %d, this is rank %d on %s", world.size, world.rank, _device_name(world))
    if busy := crowded_cores(cfg.DATA_LOADER.NUM_WORKERS, world.local_size, usable_cores()):
        logger.warning(busy)
    if cfg.DATA_LOADER.NUM_WORKERS == 0:
        logger.warning(
            "DATA_LOADER.NUM_WORKERS is 0: a video whose decoder hangs or crashes stops the run; from 1 on "
            "its worker is started again and the video skipped"
        )


def _lock_output_dir(folder: str, world: World, stack: ExitStack) -> None:
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
