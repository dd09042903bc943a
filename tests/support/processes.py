"""Several forked processes on this machine, which start at once."""

from __future__ import annotations

import faulthandler
import gc
import multiprocessing
from collections.abc import Callable
from typing import Any

import torch
import torch._dynamo  # optimisers import it: imported once here instead of in each process

from slowfast.distributed.deadline import Deadline
from slowfast.distributed.rendezvous.meeting import meet
from slowfast.distributed.rendezvous.peers import PeerInfo
from slowfast.distributed.world import World, disconnect, free_local_address, join


def run_forked(function: Callable[..., Any], *arguments: Any) -> int:
    """Runs ``function`` in a process of its own and returns its result as the exit code."""
    return run_all(function, [arguments])[0]


def run_all(function: Callable[..., Any], arguments: list[tuple[Any, ...]], seconds: float = 60) -> list[int]:
    """Runs ``function`` once per tuple, all at the same time, and returns the exit codes.

    A process that hangs prints the stacks of its threads before it is killed.
    """
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_exit_with, args=(function, given, seconds)) for given in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode if process.exitcode is not None else -1 for process in processes]


def run_ranks(function: Callable[..., Any], size: int, *arguments: Any) -> list[int]:
    """Runs ``function(world, *arguments)`` in each of ``size`` connected processes."""
    address = free_local_address()
    return run_all(_connected, [(function, World(rank, size), address, *arguments) for rank in range(size)])


def _connected(function: Callable[..., Any], world: World, address: str, *arguments: Any) -> Any:
    store = meet(PeerInfo(world.rank, world.size), address, Deadline(60.0))
    join(world, store, backend="gloo", timeout=60.0)
    try:
        return function(world, *arguments)
    finally:
        disconnect()


def _exit_with(function: Callable[..., Any], arguments: tuple[Any, ...], seconds: float) -> None:
    faulthandler.dump_traceback_later(0.9 * seconds, file=2)
    gc.freeze()  # earlier tests leave garbage whose threads do not exist here: collecting it would abort
    # Replaces torch's pool of threads, which do not exist here either, before several threads do so at once.
    torch.set_num_threads(torch.get_num_threads())
    raise SystemExit(function(*arguments) or 0)
