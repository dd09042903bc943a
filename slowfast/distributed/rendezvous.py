"""Rendezvous of the processes of a run: a store that all of them reach, and a check that they fit together.

Each process writes a :class:`PeerInfo` into the store. Rank 0 compares them as they arrive and announces one
result for all: success, or an error that names the rank. Every process gets an answer within the time that is
set, whatever happens; ``README.md`` in this folder explains why torchrun's own rendezvous is not enough.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

import torch.distributed as dist

from slowfast.distributed.code_version import describe_difference
from slowfast.errors import DistributedError, first_line
from slowfast.log import get_logger

logger = get_logger(__name__)

# The result of a check without an error.
_SUCCESS = "good"
# Seconds between two polls of the store, and between two log lines about missing ranks.
_POLL_SECONDS, _LOG_SECONDS = 0.1, 20.0
# Seconds for which rank 0 keeps the store open so that all processes can read an error.
_READ_SECONDS = 5.0
# Seconds for which the loader workers of a killed run may still hold its port.
_PORT_SECONDS = 5.0

ConfigDifferences = Callable[[str, str], list[str]]
"""Function of two configurations (YAML) that returns one phrase per difference."""


@dataclass(frozen=True)
class PeerInfo:
    """Description of one process of a run.

    Attributes:
        rank, size: see ``World``.
        code: see ``slowfast.distributed.code_version.running_code``.
        config: the configuration as YAML.
        problem: why the process cannot take part, in one sentence; empty where it can.
    """

    rank: int
    size: int
    code: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    problem: str = ""
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host} (process {self.pid})"

    @classmethod
    def read(cls, store: dist.Store, rank: int) -> PeerInfo | None:
        """Returns the description that ``rank`` wrote; None where it has not written one yet."""
        key = f"peer/{rank}"
        return cls(**json.loads(store.get(key))) if store.check([key]) else None

    def write(self, store: dist.Store) -> None:
        """Writes the description into the store."""
        store.set(f"peer/{self.rank}", json.dumps(asdict(self)))


class Deadline:
    """End of a period in which something is waited for.

    Args:
        seconds: length of the period, from now on.
        on_poll: called at each poll; it may raise an error to stop waiting.
    """

    def __init__(self, seconds: float, on_poll: Callable[[], None] = lambda: None) -> None:
        self.seconds = seconds
        self._on_poll = on_poll
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Returns the seconds that are left, at least 0.1."""
        return max(self._end - time.monotonic(), 0.1)

    def polls(self) -> Iterator[None]:
        """Yields repeatedly, with a pause between, until the period is over; at least once."""
        while True:
            self._on_poll()
            yield
            if time.monotonic() >= self._end:
                return
            time.sleep(_POLL_SECONDS)


def meet(peer: PeerInfo, address: str, deadline: Deadline, *, differences: ConfigDifferences) -> dist.Store:
    """Waits for all processes of the run, checks that they fit together, and returns their common store.

    Args:
        peer: description of this process.
        address: ``tcp://HOST:PORT``, on which rank 0 listens, or ``env://``, as ``torchrun`` sets it.
        deadline: for the whole rendezvous.
        differences: compares two configurations.

    Raises:
        DistributedError: with the same text on all processes that could be reached; it names rank and remedy.
    """
    store = open_store(peer, address, deadline)
    try:
        result = _check_peers(store, peer, deadline, differences)
    except RuntimeError as error:  # raised by torch where the store is gone
        raise DistributedError(
            f"rank 0 at {address} went away during the rendezvous ({first_line(error)}); see the output of "
            "rank 0 for the reason"
        ) from error
    if result != _SUCCESS:
        raise DistributedError(result)
    return store


def open_store(peer: PeerInfo, address: str, deadline: Deadline) -> dist.Store:
    """Opens the store at ``address``; see :func:`meet`."""
    if address == "env://":
        host, port = _torchrun_address()
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            # The store lives in torchrun itself and survives restarts of the processes.
            store = _open_client(peer, host, port, deadline)
            return dist.PrefixStore(f"run/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    else:
        host, port = _parse_address(address)
    open_as = _open_server if peer.rank == 0 else _open_client
    return open_as(peer, host, port, deadline)


def _torchrun_address() -> tuple[str, int]:
    try:
        return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    except (KeyError, ValueError) as error:
        raise DistributedError(
            "RANK and WORLD_SIZE are set as by torchrun, but MASTER_ADDR and MASTER_PORT are missing or "
            f"wrong ({error!r}); start through torchrun, or unset them"
        ) from None


def _parse_address(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    with contextlib.suppress(ValueError):
        if parts.scheme == "tcp" and parts.hostname and parts.port:
            return parts.hostname, parts.port
    raise DistributedError(
        f"--init_method {address!r}: is not a valid address; give tcp://HOST:PORT of node 0, such as "
        "tcp://10.0.0.1:9999"
    )


def _open_server(peer: PeerInfo, host: str, port: int, deadline: Deadline) -> dist.Store:
    """Opens the store as rank 0.

    Where another rank 0 listens already, this process joins its store as a client, so that the check of the
    peers reports both.
    """
    is_local = _is_local(host)
    if not is_local and _answers(host, port):
        return _open_client(peer, host, port, deadline)
    error: RuntimeError | None = None
    for _ in Deadline(min(_PORT_SECONDS, deadline.seconds)).polls():
        try:
            # An address that is translated for a container cannot be reached from inside by its name.
            return _open_tcp_store(host if is_local else "127.0.0.1", port, deadline.left(), is_master=True)
        except dist.DistNetworkError as failure:
            error = failure
    with contextlib.suppress(DistributedError):
        return _open_client(peer, host, port, Deadline(min(_PORT_SECONDS, deadline.left())))
    raise DistributedError(
        f"rank 0 cannot listen at {host}:{port} ({first_line(error)}); another program may use the port. "
        "Choose another port in --init_method, the same on all nodes"
    )


def _open_client(peer: PeerInfo, host: str, port: int, deadline: Deadline) -> dist.Store:
    reason: Exception | None = None
    for _ in deadline.polls():
        try:
            # Tried with a plain socket first: torch's store fills the terminal with messages while it tries.
            socket.create_connection((host, port), timeout=min(deadline.left(), 5.0)).close()
            return _open_tcp_store(host, port, deadline.left(), is_master=False)
        except (OSError, dist.DistError) as error:
            reason = error
    raise DistributedError(
        f"{peer} cannot reach rank 0 at {host}:{port} within {deadline.seconds:g} s ({first_line(reason)}); "
        "start node 0 (--shard_id 0), and check the address, its port and the firewall (more time: "
        "DIST_START_TIMEOUT)"
    )


def _open_tcp_store(host: str, port: int, seconds: float, *, is_master: bool) -> dist.Store:
    timeout = datetime.timedelta(seconds=seconds)
    return dist.TCPStore(host, port, None, is_master, timeout, wait_for_workers=False)


def _is_local(host: str) -> bool:
    """Returns whether ``host`` is an address of this node."""
    with contextlib.suppress(OSError):
        for family, kind, protocol, _, address in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM):
            with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as probe:
                probe.bind(address)
                return True
    return False


def _answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((host, port), timeout=2.0).close()
        return True
    return False


def _check_peers(
    store: dist.Store, peer: PeerInfo, deadline: Deadline, differences: ConfigDifferences
) -> str:
    """Registers ``peer``, waits for the result of the check and returns it."""
    # Register. The first process of a rank takes it; a second one of the same rank is an error for all.
    own_error = ""
    store.add("arrived", 1)
    if store.add(f"claim/{peer.rank}", 1) == 1:
        peer.write(store)
        if peer.rank == 0:
            _announce(store, _wait_for_peers(store, peer, deadline, differences))
    else:
        own_error = _describe_duplicate(store, peer)
        _announce(store, own_error)

    # Wait for the result. The size of the world is compared here too, because rank 0 does not look for ranks
    # beyond its own world.
    rank_0: PeerInfo | None = None
    for _ in Deadline(deadline.left() + _READ_SECONDS).polls():
        if rank_0 is None and (rank_0 := PeerInfo.read(store, 0)) is not None and rank_0.size != peer.size:
            _announce(store, _describe_sizes(rank_0, peer))
        if store.check(["result"]):
            result = store.get("result").decode()
            # A surplus process must not disturb a run that is complete without it.
            result = own_error if own_error and result == _SUCCESS else result
            if result != _SUCCESS:
                _wait_for_readers(store, peer)
            return result
    return (
        f"rank 0 did not finish the check of all ranks within {deadline.seconds:g} s; see its output for the "
        "reason (more time: DIST_START_TIMEOUT)"
    )


def _announce(store: dist.Store, result: str) -> None:
    """Makes ``result`` the result for all processes, unless there is one already."""
    store.compare_set("result", "", result)


def _describe_duplicate(store: dist.Store, peer: PeerInfo) -> str:
    first: PeerInfo | None = None
    for _ in Deadline(2.0).polls():
        if first := PeerInfo.read(store, peer.rank):
            break
    return (
        f"rank {peer.rank} was started twice: {first or 'by an unknown process'}, and {peer}; give each node "
        "a --shard_id of its own, or wait for the end of the other run at this address"
    )


def _wait_for_peers(
    store: dist.Store, rank_0: PeerInfo, deadline: Deadline, differences: ConfigDifferences
) -> str:
    """Compares the peers as they arrive, on rank 0, and returns the result of the check."""
    missing = list(range(rank_0.size))
    last_log = time.monotonic()
    for _ in deadline.polls():
        for peer in [peer for rank in missing if (peer := PeerInfo.read(store, rank)) is not None]:
            missing.remove(peer.rank)
            if error := _compare(rank_0, peer, differences):
                return error
        if not missing:
            return _SUCCESS
        if store.check(["result"]):
            return ""  # another process has announced an error
        if time.monotonic() - last_log > _LOG_SECONDS:
            last_log = time.monotonic()
            logger.info("waiting for %s of %d", _list_ranks(missing), rank_0.size)
    return (
        f"{_list_ranks(missing)} of {rank_0.size} did not arrive within {deadline.seconds:g} s at {rank_0}; "
        "start each node with a --shard_id of its own and --init_method of node 0, and see the output of the "
        "missing ones (more time: DIST_START_TIMEOUT)"
    )


def _compare(rank_0: PeerInfo, peer: PeerInfo, differences: ConfigDifferences) -> str:
    """Returns why ``peer`` does not fit rank 0; empty where it fits."""
    if peer.problem:
        return f"{peer}: {peer.problem}"
    if peer.size != rank_0.size:
        return _describe_sizes(rank_0, peer)
    if difference := describe_difference(peer.code, rank_0.code):
        return f"rank {peer.rank} has {difference} ({peer}; {rank_0}); install the same everywhere"
    if changed := differences(rank_0.config, peer.config):
        return (
            f"rank {peer.rank} has another configuration than rank 0: {'; '.join(changed)}; make them equal"
        )
    return ""


def _describe_sizes(rank_0: PeerInfo, peer: PeerInfo) -> str:
    return (
        f"{peer} belongs to a run of {peer.size} processes, {rank_0} to one of {rank_0.size}; give all nodes "
        "the same --num_shards, and a NUM_GPUS that each of them has"
    )


def _wait_for_readers(store: dist.Store, peer: PeerInfo) -> None:
    """Keeps the store of rank 0 open until the other processes have read an error."""
    if peer.rank:
        store.add("read", 1)
        return
    for _ in Deadline(_READ_SECONDS).polls():
        if store.add("read", 0) >= store.add("arrived", 0) - 1:
            return


def _list_ranks(ranks: list[int]) -> str:
    shown = ", ".join(map(str, ranks[:8])) + (" …" if len(ranks) > 8 else "")
    return f"rank{'s' if len(ranks) > 1 else ''} {shown}"
