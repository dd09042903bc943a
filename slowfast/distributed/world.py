"""The processes of a run: their number, the rank of each, and their communication.

A *node* (PySlowFast's shard) runs one process per GPU, or one on the CPU; ``torchrun`` may start any number.
All code above this module is written for a world of any size; a world of one process communicates nothing.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import re
import socket
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psutil
import torch
import torch.distributed as dist
from torch import Tensor

from slowfast.distributed.blocking import blocking_on
from slowfast.distributed.device import CPU, accelerator, collective_backends, synchronize
from slowfast.errors import DistributedError
from slowfast.log import get_logger

logger = get_logger(__name__)

# Seconds by which torch's own timeout is longer than that of the watchdog, whose report says more.
_SLACK_SECONDS = 60.0


@dataclass(frozen=True)
class World:
    """This process among all processes of the run.

    Attributes:
        rank: 0 … size − 1 over all nodes; rank 0 prints and writes files.
        size: number of processes of the run.
        local_rank: 0 … local_size − 1 on this node.
        local_size: number of processes of this node.
        device: on which this process computes.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    device: torch.device = CPU

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    @contextlib.contextmanager
    def blocking_on(self, what: str) -> Iterator[None]:
        """Marks its block as waiting for other ranks, until this rank's device has done what the block asks.

        A GPU's collective only enters its queue when it is called. Without the wait at the end, a rank that
        hangs would be noticed much later and at another place.

        Args:
            what: description, continuing "waiting for …".
        """
        if self.size == 1:
            yield
            return
        with blocking_on(what):
            yield
            synchronize(self.device)

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """Sums ``tensor`` over all ranks, in place, and returns it; the shapes must be equal.

        On a GPU it may return before the sum is there. The caller reads the sum while it is marked as waiting
        for other ranks, as the training step is.
        """
        if self.size > 1:
            with blocking_on("a sum over all ranks"):
                dist.all_reduce(tensor)
        return tensor

    def gather_objects(self, value: Any) -> list[Any]:
        """Returns the values of all ranks, ordered by rank, on rank 0; an empty list elsewhere."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.is_main else None
        with blocking_on("the results of all ranks"):
            dist.gather_object(value, values)
        return values or []

    def all_gather_objects(self, value: Any) -> list[Any]:
        """Returns the values of all ranks, ordered by rank, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with blocking_on("the values of all ranks"):
            dist.all_gather_object(values, value)
        return values


@dataclass(frozen=True)
class Processes:
    """The processes of one node.

    Attributes:
        count: number of processes.
        on_gpu: whether each has a GPU of its own.
        warning: difference from the configuration, for the log; empty where both agree.
    """

    count: int
    on_gpu: bool
    warning: str = ""


def choose_processes(num_gpus: int, *, present: int) -> Processes:
    """Returns the processes that a node runs.

    Args:
        num_gpus: GPUs asked for; 0 means the CPU.
        present: GPUs of this node.
    """
    if num_gpus <= 0:
        return Processes(count=1, on_gpu=False)
    if present == 0:
        return Processes(1, False, f"NUM_GPUS is {num_gpus}, but this node has no GPU: using one CPU process")
    if num_gpus > present:
        return Processes(
            present, True, f"NUM_GPUS is {num_gpus}, but this node has {present}: using {present}"
        )
    return Processes(count=num_gpus, on_gpu=True)


def started_by_torchrun() -> bool:
    """Returns whether ``torchrun`` (or a program that sets its variables) started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def torchrun_world() -> World:
    """Returns the world that the variables of ``torchrun`` describe, on the CPU.

    Raises:
        DistributedError: where one of them is not a whole number, or a rank is too large.
    """
    try:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local_rank = int(os.environ.get("LOCAL_RANK", rank))
        local_size = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    except ValueError as error:
        raise DistributedError(
            f"RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE: must be whole numbers ({error}); start through "
            "torchrun, or unset them"
        ) from None
    if not (0 <= rank < size and 0 <= local_rank < local_size):
        raise DistributedError(
            f"RANK = {rank}, WORLD_SIZE = {size}, LOCAL_RANK = {local_rank}, "
            f"LOCAL_WORLD_SIZE = {local_size}: must be 0 <= RANK < WORLD_SIZE and "
            "0 <= LOCAL_RANK < LOCAL_WORLD_SIZE; start through torchrun, or unset them"
        )
    return World(rank, size, local_rank, local_size)


def shard_world(*, processes: Processes, local_rank: int, num_shards: int, shard_id: int) -> World:
    """Returns the world of process ``local_rank`` on node ``shard_id`` of ``num_shards`` equal nodes."""
    return World(
        rank=shard_id * processes.count + local_rank,
        size=num_shards * processes.count,
        local_rank=local_rank,
        local_size=processes.count,
        device=accelerator(local_rank) if processes.on_gpu else CPU,
    )


def join(world: World, store: dist.Store, *, backend: str, timeout: float) -> None:
    """Forms the process group of ``torch.distributed`` from all processes that met at ``store``.

    Args:
        backend: of GPUs; the CPU always uses gloo.
        timeout: seconds that a collective may take.

    Raises:
        DistributedError: where processes cannot reach each other, or share a GPU without gloo.
    """
    try:
        dist.init_process_group(
            collective_backends(world.device, backend),
            store=dist.PrefixStore("group", store),
            rank=world.rank,
            world_size=world.size,
            timeout=datetime.timedelta(seconds=timeout + _SLACK_SECONDS),
        )
        # A first sum shows a broken network before the work begins, not in the first step. It is read,
        # because a GPU's sum only enters a queue when it is called. All ranks must have the same order.
        sums = [_sum_of_ones(device) for device in dict.fromkeys((CPU, world.device))]
    except (RuntimeError, ValueError) as error:
        if duplicate := re.search("Duplicate GPU detected.*", str(error)):  # NCCL's words
            raise DistributedError(
                f"rank {world.rank} of {world.size}: {duplicate[0]}; start as many processes per node as it "
                "has GPUs, show each its own GPU (CUDA_VISIBLE_DEVICES), or share one by DIST_BACKEND gloo"
            ) from error
        raise DistributedError(
            f"rank {world.rank} of {world.size} reached rank 0, but not all other ranks ({error}); all ports "
            "must be open between the nodes, and GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME name the network"
        ) from error
    if any(total != world.size for total in sums):
        raise DistributedError(
            f"rank {world.rank} of {world.size}: the sum of a 1 from each rank is {min(sums):g}; the network "
            "between the GPUs does not work, try NCCL_P2P_DISABLE=1, NCCL_SHM_DISABLE=1 or DIST_BACKEND gloo"
        )


def _sum_of_ones(device: torch.device) -> float:
    """Returns the sum over all ranks of a 1 from each, computed on that device."""
    total = torch.ones(1, device=device)
    dist.all_reduce(total)
    return total.item()


def choose_network(world: World, init_method: str, environ: MutableMapping[str, str] = os.environ) -> str:
    """Makes gloo use the network through which rank 0 is reached.

    Without it gloo takes the network of the node's host name, which is often another one or does not exist.

    Returns:
        The name of the network interface; empty where nothing was changed.
    """
    if world.size == world.local_size or "GLOO_SOCKET_IFNAME" in environ:
        return ""
    host = environ.get("MASTER_ADDR", "") if init_method == "env://" else urlsplit(init_method).hostname
    with contextlib.suppress(OSError):
        family, _, _, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # sends nothing
            own = probe.getsockname()[0]
        for name, addresses in psutil.net_if_addrs().items():
            of_interface = [one.address.split("%")[0] for one in addresses]
            if own in of_interface and not ipaddress.ip_address(own).is_loopback:
                environ["GLOO_SOCKET_IFNAME"] = name
                return name
    return ""


def disconnect() -> None:
    """Leaves the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def free_local_address() -> str:
    """Returns a ``tcp://`` address of this node on which no program listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"
