"""The first failure of a distributed run, and how it is broadcast to every rank."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

import torch.distributed as dist

from slowfast.distributed.rendezvous.peers import PeerInfo

RESUME_HINT = "the same command resumes from the last checkpoint"
# Ranks whose location is listed in a report.
_MAX_LISTED = 16

Kind = Literal["error", "hang", "silence", "stop"]
"""An exception; a wait for other ranks that did not end; a rank without heartbeat; a signal."""


@dataclass(frozen=True)
class Failure:
    """The reason for which a run ends early.

    Attributes:
        kind: see :data:`Kind`.
        rank: the rank that reports it.
        text: message or traceback of an error, or one sentence.
        exit_code: with which all processes end.
        expected: whether the message alone tells a user what to do, so that a traceback is not needed.
    """

    kind: Kind
    rank: int
    text: str
    exit_code: int
    expected: bool = False


class StatusBoard:
    """Status of all processes of a run, kept in the store of the rendezvous, over a connection of its own.

    All methods raise ``RuntimeError`` (torch's) where the store is gone, and block while the network does.
    """

    def __init__(self, store: dist.Store, rank: int, size: int) -> None:
        self.peers = store.clone()
        self.store = dist.PrefixStore("status", self.peers)
        self.rank = rank
        self.size = size

    def beat(self) -> None:
        """Counts one heartbeat of this process."""
        self.store.add(f"beat/{self.rank}", 1)

    def beats(self) -> list[int]:
        """Returns the number of heartbeats of each rank; −1 for a rank that has left in order."""
        return [
            -1 if self.store.check([f"left/{rank}"]) else self.store.add(f"beat/{rank}", 0)
            for rank in range(self.size)
        ]

    def report(self, failure: Failure) -> None:
        """Makes ``failure`` the failure of the run, unless there is one already."""
        self.store.compare_set("failure", "", json.dumps(asdict(failure)))

    def failure(self) -> Failure | None:
        """Returns the failure of the run."""
        return Failure(**json.loads(self.store.get("failure"))) if self.store.check(["failure"]) else None

    def request_stop(self, signum: int) -> None:
        """Makes all processes know that one was asked to stop by a signal."""
        self.store.set("stop", str(signum))

    def requested_stop(self) -> int:
        """Returns the signal by which a process was asked to stop; 0: none was."""
        return int(self.store.get("stop")) if self.store.check(["stop"]) else 0

    def set_location(self, location: str) -> None:
        """Stores the code location of this process."""
        self.store.set(f"location/{self.rank}", location)

    def locations(self) -> dict[int, str]:
        """Returns rank -> code location, for the ranks that have stored one or left in order."""
        found = {}
        for rank in range(self.size):
            if self.store.check([f"left/{rank}"]):
                found[rank] = "finished"
            elif self.store.check([f"location/{rank}"]):
                found[rank] = self.store.get(f"location/{rank}").decode()
        return found

    def leave(self) -> None:
        """Marks this process as finished."""
        self.store.set(f"left/{self.rank}", "")

    def count(self, what: str, more: int = 0) -> int:
        """Adds ``more`` to a number that all processes share, 0 at first, and returns it."""
        return self.store.add(what, more)

    def name(self, rank: int) -> str:
        """Returns a rank with its host and process id."""
        peer = PeerInfo.read(self.peers, rank)
        return f"rank {rank}" if peer is None else str(peer)


def describe_end(failure: Failure, board: StatusBoard, locations: dict[int, str]) -> str:
    """Returns the text about the end of a run that the user is shown.

    Args:
        locations: rank -> code location, for the ranks that answered.
    """
    name = board.name(failure.rank)
    silent = [rank for rank in range(board.size) if rank not in locations and rank != failure.rank]
    lines = []
    # An error of the network is the cause only if all ranks still answer; else the loss of a rank is.
    if failure.kind == "error" and not (silent and names_network(failure.text)):
        if failure.expected:
            return f"{name}: {failure.text}"
        return f"{name} failed:\n{failure.text.rstrip()}\nthe other processes were ended; {RESUME_HINT}"
    if failure.kind == "silence":
        lines.append(failure.text)
    elif silent:
        lost = ", ".join(board.name(rank) for rank in silent[:_MAX_LISTED])
        lines.append(
            f"{lost}: no answer. The process was killed (possibly out of memory: see its log and the system "
            f"log of the node), or its node or network is gone; {RESUME_HINT}"
        )
    if failure.kind == "hang":
        lines.append(f"{name} {failure.text}")
    lines.append("location of each rank:")
    lines += [f"  rank {rank}: {locations.get(rank, 'no answer')}" for rank in range(board.size)][
        :_MAX_LISTED
    ]
    lines.append("the stacks of all their threads are at the end of stdout.log and stdout_rank*.log")
    return "\n".join(lines)


def names_network(text: str) -> bool:
    """Returns whether an error reports a lost connection, a possible consequence of another failure."""
    return any(word in text for word in ("gloo", "NCCL", "onnection", "DistError"))
