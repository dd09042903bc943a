"""How the processes of a run meet: a store that all can reach, and a roll call with one verdict for all.

Each process says who it is on a card. Rank 0 reads the cards as they come and announces one verdict: all is
well, or what is wrong with which rank. Whatever happens, each process has its answer in the time that is set.
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
from typing import Any
from urllib.parse import urlsplit

import torch.distributed as dist

from slowfast.distributed.code_version import describe_difference
from slowfast.errors import DistributedError
from slowfast.log import get_logger

logger = get_logger(__name__)

_GOOD = "good"
# Seconds between two looks, between two lines about who is missing, and for the others to read a bad verdict.
_LOOK, _TELL, _FAREWELL = 0.1, 20.0, 5.0
# Seconds for which the loader's workers of a killed run may still hold its port.
_PORT_SECONDS = 5.0


@dataclass(frozen=True)
class PeerInfo:
    """What a process says about itself.

    Attributes:
        rank, size: its place, see ``World``.
        code: see ``slowfast.distributed.code_version.running_code``.
        config: the configuration as YAML.
        problem: why it cannot take part, in a sentence; empty when it can.
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
        """Returns the card of ``rank``, None where there is none yet."""
        key = f"card/{rank}"
        return cls(**json.loads(store.get(key))) if store.check([key]) else None


class Deadline:
    """A moment up to which something is waited for.

    Args:
        seconds: from now.
        on_wait: called at each look; may raise to end the waiting.
    """

    def __init__(self, seconds: float, on_wait: Callable[[], None] = lambda: None) -> None:
        self.seconds = seconds
        self._on_wait = on_wait
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left, at least a little."""
        return max(self._end - time.monotonic(), 0.1)

    def looks(self) -> Iterator[None]:
        """Yields again and again, with a pause, until the moment has come; at least once."""
        while True:
            self._on_wait()
            yield
            if time.monotonic() >= self._end:
                return
            time.sleep(_LOOK)


def meet(
    card: PeerInfo, address: str, deadline: Deadline, *, differences: Callable[[str, str], list[str]]
) -> dist.Store:
    """Meets the other processes of the run at ``address`` and returns the store that all of them share.

    Args:
        card: of this process.
        address: ``tcp://HOST:PORT``, where rank 0 listens, or ``env://``, as ``torchrun`` set it.
        deadline: for the whole of it.
        differences: says in what two configurations (YAML) differ.

    Raises:
        DistributedError: the same on all processes that could be reached, naming rank and remedy.
    """
    store = open_store(card, address, deadline)
    try:
        verdict = _check_peers(store, card, deadline, differences)
    except RuntimeError as error:  # torch's own, of a store that is gone
        raise DistributedError(
            f"rank 0 at {address} went away while the processes met ({_first_line(error)}); its own output "
            "says why"
        ) from error
    if verdict != _GOOD:
        raise DistributedError(verdict)
    return store


def open_store(card: PeerInfo, address: str, deadline: Deadline) -> dist.Store:
    """Opens the store at ``address``; see :func:`meet`."""
    if address == "env://":
        host, port = _torchrun_place()
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            # torchrun itself holds the store, through all restarts of the processes.
            store = _client(card, host, port, deadline)
            return dist.PrefixStore(f"run/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    else:
        host, port = _split(address)
    return _server(card, host, port, deadline) if card.rank == 0 else _client(card, host, port, deadline)


def _torchrun_place() -> tuple[str, int]:
    try:
        return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    except (KeyError, ValueError) as error:
        raise DistributedError(
            f"RANK and WORLD_SIZE are set as by torchrun, but MASTER_ADDR and MASTER_PORT are not right "
            f"({error!r}); start through torchrun, or unset them"
        ) from None


def _split(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    with contextlib.suppress(ValueError):
        if parts.scheme == "tcp" and parts.hostname and parts.port:
            return parts.hostname, parts.port
    raise DistributedError(
        f"--init_method {address!r}: is no address; give tcp://HOST:PORT of machine 0, such as "
        "tcp://10.0.0.1:9999"
    )


def _server(card: PeerInfo, host: str, port: int, deadline: Deadline) -> dist.Store:
    """Opens the store as rank 0; as a guest where there is a rank 0 already, so that the roll call tells."""
    here = _is_here(host)
    if not here and _answers(host, port):
        return _client(card, host, port, deadline)
    error: RuntimeError | None = None
    for _ in Deadline(min(_PORT_SECONDS, deadline.seconds)).looks():
        try:
            # Behind a translated address (containers) it cannot be reached from here by its name.
            return _tcp_store(host if here else "127.0.0.1", port, deadline.left(), is_master=True)
        except dist.DistNetworkError as failure:
            error = failure
    with contextlib.suppress(DistributedError):
        return _client(card, host, port, Deadline(min(_PORT_SECONDS, deadline.left())))
    raise DistributedError(
        f"rank 0 cannot listen at {host}:{port} ({_first_line(error)}); is another program there? Take "
        "another port in --init_method, the same on all machines"
    )


def _client(card: PeerInfo, host: str, port: int, deadline: Deadline) -> dist.Store:
    reason: Exception | None = None
    for _ in deadline.looks():
        try:
            # A look in our own words: torch's store fills the terminal while it tries.
            socket.create_connection((host, port), timeout=min(deadline.left(), 5.0)).close()
            return _tcp_store(host, port, deadline.left(), is_master=False)
        except (OSError, dist.DistError) as error:
            reason = error
    raise DistributedError(
        f"{card} cannot reach rank 0 at {host}:{port} within {deadline.seconds:g} s ({_first_line(reason)}); "
        "start machine 0 (--shard_id 0), and check the address, its port and the firewall (more time: "
        "DIST_START_TIMEOUT)"
    )


def _tcp_store(host: str, port: int, seconds: float, *, is_master: bool) -> dist.Store:
    timeout = datetime.timedelta(seconds=seconds)
    return dist.TCPStore(host, port, None, is_master, timeout, wait_for_workers=False)


def _is_here(host: str) -> bool:
    """Whether ``host`` is an address of this machine."""
    with contextlib.suppress(OSError):
        for family, kind, protocol, _, place in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM):
            with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as probe:
                probe.bind(place)
                return True
    return False


def _answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((host, port), timeout=2.0).close()
        return True
    return False


def _check_peers(
    store: dist.Store, card: PeerInfo, deadline: Deadline, differences: Callable[[str, str], list[str]]
) -> str:
    """Shows ``card``, waits for the verdict and returns it."""
    own = ""
    store.add("arrived", 1)
    if store.add(f"claim/{card.rank}", 1) == 1:
        store.set(f"card/{card.rank}", json.dumps(asdict(card)))
        if card.rank == 0:
            _announce(store, _judge(store, card, deadline, differences))
    else:
        own = _taken_twice(store, card)
        _announce(store, own)
    first: PeerInfo | None = None
    for _ in Deadline(deadline.left() + _FAREWELL).looks():
        if first is None and (first := PeerInfo.read(store, 0)) is not None and first.size != card.size:
            _announce(store, _other_size(first, card))  # rank 0 does not look for ranks beyond its own world
        if store.check(["verdict"]):
            verdict = store.get("verdict").decode()
            # Somebody too many must not disturb a run that is complete without it.
            verdict = own if own and verdict == _GOOD else verdict
            if verdict != _GOOD:
                _part(store, card)
            return verdict
    return (
        f"rank 0 has not called the roll within {deadline.seconds:g} s; its own output says why (more time: "
        "DIST_START_TIMEOUT)"
    )


def _announce(store: dist.Store, verdict: str) -> None:
    """Makes ``verdict`` the one of all, unless there is one."""
    store.compare_set("verdict", "", verdict)


def _taken_twice(store: dist.Store, card: PeerInfo) -> str:
    first: PeerInfo | None = None
    for _ in Deadline(2.0).looks():
        if first := PeerInfo.read(store, card.rank):
            break
    return (
        f"rank {card.rank} is there twice: {first or 'one that did not say where'}, and {card}; give each "
        "machine a --shard_id of its own, or wait for the end of the other run at this address"
    )


def _judge(
    store: dist.Store, first: PeerInfo, deadline: Deadline, differences: Callable[[str, str], list[str]]
) -> str:
    """Reads the cards as they come, and returns the verdict of rank 0."""
    missing = list(range(first.size))
    told = time.monotonic()
    for _ in deadline.looks():
        for card in [card for rank in missing if (card := PeerInfo.read(store, rank)) is not None]:
            missing.remove(card.rank)
            if problem := _compare(first, card, differences):
                return problem
        if not missing:
            return _GOOD
        if store.check(["verdict"]):
            return ""  # somebody has found something wrong
        if time.monotonic() - told > _TELL:
            told = time.monotonic()
            logger.info("waiting for %s of %d", _ranks(missing), first.size)
    return (
        f"{_ranks(missing)} of {first.size} did not arrive within {deadline.seconds:g} s at {first}; start "
        "each machine with a --shard_id of its own and --init_method of machine 0, and look at the missing "
        "ones' own output (more time: DIST_START_TIMEOUT)"
    )


def _compare(first: PeerInfo, card: PeerInfo, differences: Callable[[str, str], list[str]]) -> str:
    """Returns what is wrong with ``card``; empty when it goes with that of rank 0."""
    if card.problem:
        return f"{card}: {card.problem}"
    if card.size != first.size:
        return _other_size(first, card)
    if difference := describe_difference(card.code, first.code):
        return f"rank {card.rank} has {difference} ({card}; {first}); install the same everywhere"
    if changed := differences(first.config, card.config):
        return f"rank {card.rank} has another configuration than rank 0: {'; '.join(changed)}; align them"
    return ""


def _other_size(first: PeerInfo, card: PeerInfo) -> str:
    return (
        f"{card} belongs to a run of {card.size} processes, {first} to one of {first.size}; give all "
        "machines the same --num_shards, and NUM_GPUS that each of them has"
    )


def _part(store: dist.Store, card: PeerInfo) -> None:
    """After a bad verdict rank 0, where the store may live, leaves when the others have read it."""
    if card.rank:
        store.add("parted", 1)
        return
    for _ in Deadline(_FAREWELL).looks():
        if store.add("parted", 0) >= store.add("arrived", 0) - 1:
            return


def _ranks(ranks: list[int]) -> str:
    shown = ", ".join(map(str, ranks[:8])) + (" …" if len(ranks) > 8 else "")
    return f"rank{'s' if len(ranks) > 1 else ''} {shown}"


def _first_line(error: Any) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
