"""Descriptions of the processes of a run, and the differences between two of them in words."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch.distributed as dist

from slowfast.config.values import differing_values
from slowfast.distributed.code_version import describe_difference


@dataclass(frozen=True)
class PeerInfo:
    """Description of one process of a run.

    Attributes:
        rank, size: see ``World``.
        code: see ``slowfast.distributed.code_version.running_code``.
        settings: dotted key -> value of the configuration, for the keys that all nodes must agree on.
        problem: why the process cannot take part, in one sentence; empty where it can.
    """

    rank: int
    size: int
    code: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host} (process {self.pid})"

    @classmethod
    def read(cls, store: dist.Store, rank: int) -> PeerInfo | None:
        """Returns the description that ``rank`` wrote; None where it has not written one yet.

        Values that this version does not know are left out: nodes may run different versions, which is an
        error that the comparison reports.
        """
        key = f"peer/{rank}"
        if not store.check([key]):
            return None
        known = {value.name for value in fields(cls)}
        return cls(**{name: value for name, value in json.loads(store.get(key)).items() if name in known})

    def write(self, store: dist.Store) -> None:
        """Writes the description into the store."""
        store.set(f"peer/{self.rank}", json.dumps(asdict(self)))


def describe_conflict(rank_0: PeerInfo, peer: PeerInfo) -> str:
    """Returns why ``peer`` does not fit rank 0; empty where it fits."""
    if peer.problem:
        return f"{peer}: {peer.problem}"
    if peer.size != rank_0.size:
        return describe_sizes(rank_0, peer)
    if difference := describe_difference(peer.code, rank_0.code):
        return f"rank {peer.rank} has {difference} ({peer}; {rank_0}); install the same everywhere"
    if changed := differing_values(rank_0.settings, peer.settings):
        shown = "; ".join(f"{key}: {ours!r} → {theirs!r}" for key, (ours, theirs) in changed.items())
        return f"rank {peer.rank} has another configuration than rank 0: {shown}; make them equal"
    return ""


def describe_sizes(rank_0: PeerInfo, peer: PeerInfo) -> str:
    return (
        f"{peer} belongs to a run of {peer.size} processes, {rank_0} to one of {rank_0.size}; give all nodes "
        "the same --num_shards, and a NUM_GPUS that each of them has"
    )
