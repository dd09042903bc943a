"""Weights from which a model starts: whether they are on this machine, or would be downloaded."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast.errors import CheckpointError
from slowfast.registry import import_user_modules, projects


@dataclass(frozen=True)
class NeededWeights:
    """The weights of one part of a model.

    Attributes:
        part: name of the part.
        address: from which they are downloaded; empty: unknown.
        path: of the file on this machine; empty: not on it.
        num_bytes: size of a download; 0: unknown.
    """

    part: str
    address: str = ""
    path: str = ""
    num_bytes: int = 0

    def describe(self) -> str:
        """Returns the weights as one line.

        >>> NeededWeights("backbone a", "https://b.org/a", num_bytes=86_000_000).describe()
        'backbone a: its weights would be downloaded from https://b.org/a (86 MB)'
        """
        if self.path:
            return f"{self.part}: its weights are in {self.path}"
        if not self.address:
            return f"{self.part}: loads weights by code of its own, and may download them"
        size = f" ({max(1, round(self.num_bytes / 1e6))} MB)" if self.num_bytes else ""
        return f"{self.part}: its weights would be downloaded from {self.address}{size}"


def find_needed_weights(cfg: CfgNode) -> Sequence[NeededWeights]:
    """Returns the weights from which a new training of a configuration starts; nothing is downloaded.

    Raises:
        CheckpointError: for a file that the configuration names and that does not exist.
    """
    import_user_modules(cfg.IMPORTS)
    modules = [importlib.import_module(project.weights) for project in projects() if project.weights]
    return [weights for module in modules for weights in module.find_weights(cfg)]


def existing_file(key: str, path: str) -> NeededWeights:
    """Returns the weights in the file or folder that a key of the configuration names.

    Raises:
        CheckpointError: where it does not exist.
    """
    if not Path(path).exists():
        raise CheckpointError(f"{key} = {path!r}: does not exist; give the path of a file of weights")
    return NeededWeights(key, path=path)
