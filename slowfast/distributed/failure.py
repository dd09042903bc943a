"""The first thing that goes wrong in a run of several processes, and how all of them come to know of it."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass, field
from typing import Literal

import torch.distributed as dist

from slowfast.distributed.rendezvous import PeerInfo

GO_ON = "the same command goes on from the last checkpoint"
# Ranks whose places are told.
_MAX_PLACES = 16

# What happened: an exception; a wait for the others that did not end; a rank that is silent; a signal.
Kind = Literal["error", "hang", "silence", "stop"]


@dataclass(frozen=True)
class Failure:
    """Why a run ends before its time.

    Attributes:
        kind: see above.
        rank: who says so.
        text: an error's message or traceback, or a sentence.
        exit_code: with which all processes end.
        expected: whether the message alone tells a user what to do.
    """

    kind: Kind
    rank: int
    text: str
    exit_code: int
    expected: bool = False
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str | bytes) -> Failure:
        return cls(**json.loads(text))


@dataclass
class StatusBoard:
    """What the processes of a run tell each other beside their work, through the store that they met at.

    All methods raise ``RuntimeError`` (torch's) when the store is gone, and wait while the network does.
    """

    store: dist.Store
    cards: dist.Store
    rank: int
    size: int

    @classmethod
    def of(cls, store: dist.Store, rank: int, size: int) -> StatusBoard:
        """The bulletin of the run that met at ``store``, over a connection of its own."""
        own = store.clone()
        return cls(dist.PrefixStore("bulletin", own), own, rank, size)

    def beat(self) -> None:
        """Shows that this process lives."""
        self.store.add(f"beat/{self.rank}", 1)

    def beats(self) -> list[int]:
        """How often each rank has shown that it lives; −1 for those that have left in order."""
        return [
            -1 if self.store.check([f"left/{rank}"]) else self.store.add(f"beat/{rank}", 0)
            for rank in range(self.size)
        ]

    def raise_alarm(self, alarm: Failure) -> None:
        """Makes ``alarm`` that of the run, unless there is one."""
        self.store.compare_set("alarm", "", alarm.dump())

    def alarm(self) -> Failure | None:
        """The run's alarm."""
        return Failure.load(self.store.get("alarm")) if self.store.check(["alarm"]) else None

    def tell_place(self, place: str) -> None:
        """Says where this process is."""
        self.store.set(f"place/{self.rank}", place)

    def places(self) -> dict[int, str]:
        """Where each rank is, of those that have said so or left in order."""
        found = {}
        for rank in range(self.size):
            if self.store.check([f"left/{rank}"]):
                found[rank] = "at an end"
            elif self.store.check([f"place/{rank}"]):
                found[rank] = self.store.get(f"place/{rank}").decode()
        return found

    def leave(self) -> None:
        """Says that this process has done its part."""
        self.store.set(f"left/{self.rank}", "")

    def all_left(self) -> bool:
        return all(self.store.check([f"left/{rank}"]) for rank in range(self.size))

    def claim_telling(self) -> bool:
        """Whether this process is the one that shall tell people of the alarm."""
        return self.store.add("tellers", 1) == 1

    def told(self) -> bool:
        """Whether people have been told."""
        return self.store.check(["told"])

    def set_told(self) -> None:
        self.store.set("told", "")

    def count_seen(self, more: int = 0) -> int:
        """How many processes have seen that people were told; ``more`` are added."""
        return self.store.add("seen", more)

    def name(self, rank: int) -> str:
        """A rank with its machine and process."""
        card = PeerInfo.read(self.cards, rank)
        return f"rank {rank}" if card is None else str(card)


def describe(alarm: Failure, bulletin: StatusBoard, places: dict[int, str]) -> str:
    """What people are told of ``alarm``; ``places`` says where each rank is, of those that answered."""
    name = bulletin.name(alarm.rank)
    silent = [rank for rank in range(bulletin.size) if rank not in places and rank != alarm.rank]
    lines = []
    if alarm.kind == "error" and not (silent and names_network(alarm.text)):
        if alarm.expected:
            return f"{name}: {alarm.text}"
        return f"{name} failed:\n{alarm.text.rstrip()}\nthe others were ended; {GO_ON}"
    if alarm.kind == "silence":
        lines.append(alarm.text)
    elif silent:
        lost = ", ".join(bulletin.name(rank) for rank in silent[:_MAX_PLACES])
        lines.append(
            f"{lost}: no answer. It was killed (was the memory full? its log and the machine's may say), or "
            f"its machine or network is gone; {GO_ON}"
        )
    if alarm.kind == "hang":
        lines.append(f"{name} {alarm.text}")
    lines.append("where the ranks are:")
    lines += [f"  rank {rank}: {places.get(rank, 'no answer')}" for rank in range(bulletin.size)][
        :_MAX_PLACES
    ]
    lines.append("the stacks of all their threads are at the end of stdout.log and stdout_rank*.log")
    return "\n".join(lines)


def names_network(text: str) -> bool:
    """Whether an error's text tells of a lost connection, which another process's end may have caused."""
    return any(word in text for word in ("gloo", "NCCL", "onnection", "DistError"))
