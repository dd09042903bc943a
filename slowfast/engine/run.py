"""A complete run: the processes are started, then each of them trains, tests and draws as configured."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast.checkpoint.resume import NODE_KEYS
from slowfast.checkpoint.state import settings_of
from slowfast.config.check_training import check_batch_sizes
from slowfast.distributed.blocking import blocking_on
from slowfast.distributed.deadline import Deadline
from slowfast.distributed.device import (
    as_device_error,
    choose_rank_device,
    count_accelerators,
    describe_device,
    is_cpu,
    set_matmul_precision,
    use_device,
)
from slowfast.distributed.host import usable_cores
from slowfast.distributed.launch import launch
from slowfast.distributed.rendezvous.meeting import meet
from slowfast.distributed.rendezvous.peers import PeerInfo, running_code
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
from slowfast.engine.demo.run import check_demo_inputs, run_demo
from slowfast.engine.dry_run import run_dry
from slowfast.engine.run_lock import claim_output_dir
from slowfast.engine.seeding import compute_deterministically
from slowfast.engine.testing.run import run_test
from slowfast.engine.training.train_loop import train
from slowfast.errors import (
    ConfigError,
    DeviceError,
    DistributedError,
    OutputError,
    SlowFastError,
    counted,
    describe_error,
)
from slowfast.exit_status import exit_status_of
from slowfast.files import LOST_DISK, UNWRITABLE_DISK, write_text
from slowfast.interrupt import Interrupt, Interrupted, stop_when_parent_ends
from slowfast.log import get_logger, log_file, log_to_file, setup_logging
from slowfast.tracking.trackers import build_trackers

logger = get_logger(__name__)

_STOP_NOTICE = "stopping at the next safe point, such as the end of the step"

Work = Callable[[CfgNode, World, Interrupt], None]
"""A function that each process calls with the configuration once all processes have met."""


def run(cfg: CfgNode, init_method: str = "", *, dry_run: bool = False, work: Work | None = None) -> int:
    """Trains and tests as configured, in as many processes as the configuration and this node allow.

    Args:
        init_method: address at which several nodes meet, ``tcp://HOST:PORT``. Under ``torchrun`` the address
            that it gives is used.
        dry_run: only build everything, take a few steps, and log their time and memory; no file is written.
        work: called instead of training and testing; must be picklable.

    Returns:
        The exit code: 0, or 130 / 143 after Ctrl-C / SIGTERM.

    Raises:
        SlowFastError: for every error that the user can fix.
    """
    if started_by_torchrun():
        world, problem, warning = torchrun_world(), None, ""
        stop_when_parent_ends()
        try:
            device, warning = choose_rank_device(
                cfg.NUM_GPUS, local_rank=world.local_rank, local_size=world.local_size
            )
            world = replace(world, device=device)
        except ConfigError as error:
            problem = error
        return run_process(cfg, world, "env://", warning=warning, problem=problem, dry_run=dry_run, work=work)
    processes = choose_processes(cfg.NUM_GPUS, present=count_accelerators())
    if cfg.NUM_SHARDS > 1 and not init_method:
        raise ConfigError(
            f"NUM_SHARDS = {cfg.NUM_SHARDS}: needs --init_method tcp://HOST:PORT, an address of node 0"
        )
    address = init_method or free_local_address()
    if processes.count == 1:
        return _run_local(0, cfg, processes, address, dry_run, work)
    return launch(_run_local, processes.count, (cfg, processes, address, dry_run, work))


def _run_local(
    local_rank: int, cfg: CfgNode, processes: Processes, address: str, dry_run: bool, work: Work | None
) -> int:
    world = shard_world(
        processes=processes, local_rank=local_rank, num_shards=cfg.NUM_SHARDS, shard_id=cfg.SHARD_ID
    )
    return run_process(cfg, world, address, warning=processes.warning, dry_run=dry_run, work=work)


def run_process(
    cfg: CfgNode,
    world: World,
    address: str,
    *,
    warning: str = "",
    problem: SlowFastError | None = None,
    dry_run: bool = False,
    work: Work | None = None,
) -> int:
    """Runs the part of this process; see :func:`run`.

    Args:
        address: at which the processes meet.
        warning: about the processes or their devices, for the log; may be empty.
        problem: an error of this rank that is known already; all ranks then end with it.
    """
    watchdog: Watchdog | None = None
    with Interrupt(_STOP_NOTICE if world.is_main else "") as interrupt, ExitStack() as stack:
        try:
            # An error before the processes have met is reported to all of them, instead of a timeout.
            problem = _prepare(cfg, world, dry_run=dry_run) or problem
            if world.size > 1:
                watchdog = stack.enter_context(_meet_others(cfg, world, address, problem, interrupt))
                with blocking_on("a connection to all ranks", cfg.DIST_START_TIMEOUT, "DIST_START_TIMEOUT"):
                    join(world, watchdog.store, backend=cfg.DIST_BACKEND, timeout=cfg.DIST_TIMEOUT)
            elif problem is not None:
                raise problem
            _log_placement(cfg, world, warning)
            if work is not None:
                work(cfg, world, interrupt)
            elif dry_run:
                run_dry(cfg, world, interrupt)
            else:
                _train_and_test(cfg, world, interrupt, stack, watchdog)
        except Interrupted as interrupted:
            logger.warning("%s", interrupted)
            if watchdog is not None:
                watchdog.stop(interrupted.signum)
            return interrupted.exit_code
        except BaseException as error:
            return _terminate_all(_as_user_error(error, cfg.OUTPUT_DIR, world), world, watchdog)
        finally:
            disconnect()
    return 0


def _prepare(cfg: CfgNode, world: World, *, dry_run: bool) -> SlowFastError | None:
    """Sets up algorithms, log and device before the processes meet; returns this rank's error, if any."""
    if cfg.DETERMINISTIC:
        compute_deterministically()
    try:
        setup_logging(None if dry_run else cfg.OUTPUT_DIR, world.rank)
    except OSError as error:
        return OutputError(cfg.OUTPUT_DIR, error)
    try:
        use_device(world.device)
    except DeviceError as error:
        return error
    problems = check_batch_sizes(cfg, world.local_size)
    return ConfigError(*problems) if problems else None


def _meet_others(
    cfg: CfgNode, world: World, address: str, problem: SlowFastError | None, interrupt: Interrupt
) -> Watchdog:
    """Meets the other processes, checks that all have the same code and configuration, and starts a watchdog.

    Raises:
        ConfigError: ``problem``, where it is one.
        DistributedError: names all ranks with a problem; the same on all of them.
    """
    if network := choose_network(world, address):
        logger.info("network: gloo uses %s, the interface to rank 0", network)
    settings = {key: value for key, value in settings_of(cfg.dump()).items() if not key.startswith(NODE_KEYS)}
    peer = PeerInfo(world.rank, world.size, running_code(), settings, str(problem or ""))
    deadline = Deadline(cfg.DIST_START_TIMEOUT, on_poll=interrupt.raise_if_requested)
    try:
        store = meet(peer, address, deadline)
    except DistributedError as error:
        if isinstance(problem, ConfigError):  # for its exit status
            raise problem from error
        raise
    return Watchdog(store, world, timeout=cfg.DIST_TIMEOUT, log_file=log_file(), interrupt=interrupt)


def _as_user_error(error: BaseException, folder: str, world: World) -> BaseException:
    """Returns an error with a remedy for a full or lost disk and a full or failed device.

    Any other error is returned unchanged.
    """
    if isinstance(error, RuntimeError) and (known := as_device_error(error, world.device)) is not None:
        known.__cause__ = error
        return known
    if isinstance(error, OSError) and error.errno in LOST_DISK:
        is_output = Path(folder) in Path(str(error.filename)).parents
        if is_output or error.errno in UNWRITABLE_DISK:
            return OutputError(folder, error)
    return error


def _terminate_all(error: BaseException, world: World, watchdog: Watchdog | None) -> int:
    """Ends all processes because of ``error``: raises it, or returns the exit code if it is reported."""
    if watchdog is not None:
        code = watchdog.fail(error)
        if code is not None:
            return code
    else:
        log_to_file(describe_error(error))
        # If the processes did not meet, one message per node is enough.
        if isinstance(error, SlowFastError) and world.local_rank > 0:
            return exit_status_of(error)
    raise error


def _train_and_test(
    cfg: CfgNode, world: World, interrupt: Interrupt, stack: ExitStack, watchdog: Watchdog | None
) -> None:
    claim_output_dir(cfg.OUTPUT_DIR, world, stack)
    if world.is_main and not cfg.TRAIN.ENABLE:
        # The folder's config.yaml is that of the training whose weights are tested.
        write_text(Path(cfg.OUTPUT_DIR) / "config_test.yaml", cfg.dump())
    trackers = build_trackers(cfg, world)
    stack.callback(trackers.finish)
    if watchdog is not None:
        watchdog.call_before_exit(trackers.finish)
    with trackers.noting_outcome():
        if cfg.DEMO.ENABLE and world.is_main:
            check_demo_inputs(cfg)
        trained = train(cfg, world, interrupt, trackers) if cfg.TRAIN.ENABLE else None
        if cfg.TEST.ENABLE:
            run_test(cfg, world, interrupt, trackers, trained=trained)
        if cfg.DEMO.ENABLE:
            run_demo(cfg, world, interrupt, trained=trained)


def _log_placement(cfg: CfgNode, world: World, warning: str) -> None:
    """Logs rank, device and number of processes, with warnings about unusual settings."""
    if warning:
        # Every shipped configuration asks for one GPU, which does not mean that the computer has one.
        is_default = cfg.NUM_GPUS == 1 and is_cpu(world.device) and not started_by_torchrun()
        logger.log(logging.INFO if is_default else logging.WARNING, "%s", warning)
    products = set_matmul_precision(world.device, cfg.MATMUL_PRECISION)
    device = describe_device(world.device)
    logger.info("processes: %d, this is rank %d on %s%s", world.size, world.rank, device, products)
    if busy := crowded_cores(cfg.DATA_LOADER.NUM_WORKERS, world.local_size, usable_cores()):
        logger.warning(busy)
    if cfg.DATA_LOADER.NUM_WORKERS == 0:
        logger.warning(
            "DATA_LOADER.NUM_WORKERS is 0: a video whose decoder hangs or crashes stops the run; with 1 or "
            "more, its worker is restarted and the video skipped"
        )


def crowded_cores(num_workers: int, local_size: int, cores: int) -> str:
    """Returns a warning with a better number if a node has more loader workers than cores, otherwise ''.

    Args:
        num_workers: loader workers per process.
        local_size: processes of this node.
        cores: of this node.
    """
    fitting = max(cores // local_size, 1)
    if num_workers <= fitting:
        return ""
    return (
        f"DATA_LOADER.NUM_WORKERS is {num_workers} for each process, but this node has "
        f"{counted(cores, 'core')}; {fitting} would be faster unless the storage is slow"
    )
