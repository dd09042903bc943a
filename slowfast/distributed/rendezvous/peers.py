"""Descriptions of the processes of a run, and the differences between two of them in words."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from slowfast import __version__
from slowfast.config.values import differing_values
from slowfast.registry import projects

# Differing files that are listed.
_MAX_LISTED = 5


@dataclass(frozen=True)
class PeerInfo:
    """Description of one process of a run.

    Attributes:
        rank, size: see ``World``.
        code: see :func:`running_code`.
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


def running_code() -> dict[str, str]:
    """Returns name -> version of this package, torch and Python, and source file -> hash.

    The sources are those of this package and of the projects: a version number alone does not distinguish two
    checkouts.
    """
    python = ".".join(platform.python_version_tuple()[:2])
    versions = {"slowfast": __version__, "torch": torch.__version__, "Python": python}
    packages = {"slowfast", *(module.split(".")[0] for project in projects() for module in project.modules)}
    for package in sorted(packages):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec is not None else []:
            for path in sorted(Path(folder).rglob("*.py")):
                name = f"{package}/{path.relative_to(folder).as_posix()}"
                versions[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return versions


def describe_difference(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str:
    """Returns how two results of :func:`running_code` differ, in words; empty where they are equal."""
    differing = sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name))
    versions = [name for name in differing if not name.endswith(".py")]
    if versions:
        return "; ".join(f"{name} {theirs.get(name)} instead of {ours.get(name)}" for name in versions)
    if not differing:
        return ""
    more = f" and {len(differing) - _MAX_LISTED} more" if len(differing) > _MAX_LISTED else ""
    return f"other sources: {', '.join(differing[:_MAX_LISTED])}{more}"
