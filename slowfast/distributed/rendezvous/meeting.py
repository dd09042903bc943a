"""The meeting of the processes of a run, each of which gets the common store or learns what is wrong.

Each process writes a :class:`PeerInfo` into the store. Rank 0 compares them as they arrive and announces one
result for all: success, or an error that names the rank. Every process gets an answer within the time that is
set, whatever happens; ``slowfast/distributed/README.md`` explains why torchrun's own rendezvous does not
suffice.
"""

from __future__ import annotations

import time
from contextlib import suppress

import torch.distributed as dist

from slowfast.distributed.deadline import Deadline
from slowfast.distributed.rendezvous.peers import PeerInfo, describe_conflict, describe_sizes
from slowfast.distributed.rendezvous.store import open_store
from slowfast.errors import DistributedError, first_line
from slowfast.interrupt import Interrupted
from slowfast.log import get_logger

logger = get_logger(__name__)

# The result of a check without an error.
_SUCCESS = "good"
# Seconds between two log lines about missing ranks.
_LOG_SECONDS = 20.0
# Seconds for which rank 0 keeps the store open so that all processes can read an error.
_READ_SECONDS = 5.0


def meet(peer: PeerInfo, address: str, deadline: Deadline) -> dist.Store:
    """Waits for all processes of the run, checks that they fit together, and returns their common store.

    Args:
        peer: description of this process.
        address: ``tcp://HOST:PORT``, on which rank 0 listens, or ``env://``, as ``torchrun`` sets it.
        deadline: for the whole rendezvous.

    Raises:
        DistributedError: with the same text on all processes that could be reached; it names rank and remedy.
        Interrupted: after a signal, unless the others have continued already and would wait for this process.
    """
    store = open_store(peer, address, deadline)
    try:
        result = _check_peers(store, peer, deadline)
    except Interrupted as stopped:
        with suppress(RuntimeError):  # the store may be gone, too
            if _announce(store, f"{peer} was {stopped}") == _SUCCESS:
                return store
        raise
    except RuntimeError as error:  # raised by torch where the store is gone
        raise DistributedError(
            f"rank 0 at {address} went away during the rendezvous ({first_line(error)}); see the output of "
            "rank 0 for the reason"
        ) from error
    if result != _SUCCESS:
        raise DistributedError(result)
    return store


def _check_peers(store: dist.Store, peer: PeerInfo, deadline: Deadline) -> str:
    """Registers ``peer``, waits for the result of the check and returns it."""
    # Register. The first process of a rank takes it; a second one of the same rank is an error for all.
    own_error = ""
    store.add("arrived", 1)
    if store.add(f"claim/{peer.rank}", 1) == 1:
        peer.write(store)
        if peer.rank == 0:
            _announce(store, _wait_for_peers(store, peer, deadline))
    else:
        own_error = _describe_duplicate(store, peer)
        _announce(store, own_error)

    # Wait for the result. The size of the world is compared here too, because rank 0 does not look for ranks
    # beyond its own world.
    rank_0: PeerInfo | None = None
    for _ in Deadline(deadline.left() + _READ_SECONDS, deadline.on_poll).polls():
        if rank_0 is None and (rank_0 := PeerInfo.read(store, 0)) is not None and rank_0.size != peer.size:
            _announce(store, describe_sizes(rank_0, peer))
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


def _announce(store: dist.Store, result: str) -> str:
    """Makes ``result`` the result for all processes, unless there is one already; returns what it is."""
    return store.compare_set("result", "", result).decode()


def _describe_duplicate(store: dist.Store, peer: PeerInfo) -> str:
    first = next(filter(None, (PeerInfo.read(store, peer.rank) for _ in Deadline(2.0).polls())), None)
    return (
        f"rank {peer.rank} was started twice: {first or 'by an unknown process'}, and {peer}; give each node "
        "a --shard_id of its own, or wait for the end of the other run at this address"
    )


def _wait_for_peers(store: dist.Store, rank_0: PeerInfo, deadline: Deadline) -> str:
    """Compares the peers as they arrive, on rank 0, and returns the result of the check."""
    missing = list(range(rank_0.size))
    last_log = time.monotonic()
    for _ in deadline.polls():
        for peer in [peer for rank in missing if (peer := PeerInfo.read(store, rank)) is not None]:
            missing.remove(peer.rank)
            if error := describe_conflict(rank_0, peer):
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


def _wait_for_readers(store: dist.Store, peer: PeerInfo) -> None:
    """Keeps the store of rank 0 open until the other processes have read an error."""
    if peer.rank:
        store.add("read", 1)
        return
    for _ in Deadline(_READ_SECONDS).polls():
        # A rank that still imports torch would find no store, and wait for its whole deadline.
        if store.add("read", 0) >= max(store.add("arrived", 0), peer.size) - 1:
            return


def _list_ranks(ranks: list[int]) -> str:
    shown = ", ".join(map(str, ranks[:8])) + (" …" if len(ranks) > 8 else "")
    return f"rank{'s' if len(ranks) > 1 else ''} {shown}"
