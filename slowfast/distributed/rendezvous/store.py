"""The common store of a run: rank 0 listens at an address, and all other ranks connect to it."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import time
from urllib.parse import urlsplit

import torch.distributed as dist

from slowfast.distributed.deadline import Deadline
from slowfast.distributed.rendezvous.peers import PeerInfo
from slowfast.errors import DistributedError, first_line

# Seconds for which the loader workers of a killed run may still hold its port.
_PORT_SECONDS = 5.0


def open_store(peer: PeerInfo, address: str, deadline: Deadline) -> dist.Store:
    """Opens the store at ``address``; see :func:`~.meeting.meet`."""
    if address == "env://":
        host, port = _torchrun_address()
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            # The store lives in torchrun itself and survives restarts of the processes.
            store = _open_client(peer, host, port, deadline, is_of_torchrun=True)
            return dist.PrefixStore(f"run/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    else:
        host, port = _parse_address(address)
    open_as = _open_server if peer.rank == 0 else _open_client
    return open_as(peer, host, port, deadline)


def _torchrun_address() -> tuple[str, int]:
    try:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        if not 0 < port < 65536:
            raise ValueError(f"MASTER_PORT = {port}")
        return host, port
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


def _open_client(
    peer: PeerInfo, host: str, port: int, deadline: Deadline, *, is_of_torchrun: bool = False
) -> dist.Store:
    reason: Exception | None = None
    begun = time.monotonic()
    for _ in deadline.polls():
        try:
            # Tried with a plain socket first: torch's store fills the terminal with messages while it tries.
            socket.create_connection((host, port), timeout=min(deadline.left(), 5.0)).close()
            return _open_tcp_store(host, port, deadline.left(), is_master=False)
        except (OSError, dist.DistError) as error:
            reason = error
        # torchrun listens before it starts any process: a refused connection means that it has ended.
        is_refused = isinstance(reason, ConnectionRefusedError)
        if is_of_torchrun and is_refused and time.monotonic() - begun > _PORT_SECONDS:
            raise DistributedError(f"{peer}: torchrun no longer listens at {host}:{port}; start it again")
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
