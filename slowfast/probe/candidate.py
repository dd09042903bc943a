"""Candidates of a search: changes of a configuration, which projects propose."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fvcore.common.config import CfgNode

from slowfast.config.values import value_of
from slowfast.errors import ConfigError
from slowfast.registry import projects

Change = tuple[str, Any]
"""A dotted config key and its value."""


@dataclass(frozen=True)
class Candidate:
    """One setting of a model and of its training.

    Attributes:
        family: the model, such as the value of ``MODEL.MODEL_NAME``; the report compares families.
        changes: keys that differ from the configuration of the search, with their values.
        shown: keys in which it differs from the first candidate of its family, for tables.
    """

    family: str
    changes: tuple[Change, ...]
    shown: tuple[str, ...] = ()

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def key(self) -> str:
        """A short hash of the setting, which names its files."""
        text = json.dumps([self.family, list(self.changes)], default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def describe(self) -> str:
        """Returns its differences from the first candidate, such as ``BASE_LR 0.002, NUM_FRAMES 8``."""
        values = dict(self.changes)
        return ", ".join(f"{key.partition('.')[2]} {values[key]}" for key in self.shown) or "first setting"

    def apply(self, cfg: CfgNode) -> CfgNode:
        """Returns the configuration with the changes."""
        return changed(cfg, self.changes)


class CandidateSource(Protocol):
    """The module that a project names in ``slowfast.registry.Project.probe``."""

    def accepts(self, cfg: CfgNode) -> bool:
        """Returns whether the model of a configuration belongs to the project."""
        ...

    def candidates(
        self, cfg: CfgNode, *, row_shape: tuple[int, ...], num_videos: int, limit: int
    ) -> Sequence[Candidate]:
        """Returns at most ``limit`` candidates, the most promising ones first.

        Args:
            row_shape: shape of the features of a frame, (F,) or (M, F).
            num_videos: number of videos that a training sees.
        """
        ...

    def without_frame_encoder(self, cfg: CfgNode, *, feature_dim: int) -> Sequence[Change]:
        """Returns changes by which the model takes features alone, so that it is built in milliseconds."""
        ...


def find_source(cfg: CfgNode) -> CandidateSource:
    """Returns the candidates of the project that the configured model belongs to.

    Raises:
        ConfigError: where no project has candidates for the model.
    """
    sources: list[Any] = [importlib.import_module(project.probe) for project in projects() if project.probe]
    for source in sources:
        if source.accepts(cfg):
            return source
    raise ConfigError(
        f"MODEL.MODEL_NAME = {cfg.MODEL.MODEL_NAME!r}: must be a model that a project has candidates for; "
        "add the module of candidates to its Project (slowfast.registry.Project.probe)"
    )


def changed(cfg: CfgNode, changes: Sequence[Change]) -> CfgNode:
    """Returns a copy of a configuration with other values of some keys."""
    result = cfg.clone()
    result.defrost()
    for key, value in changes:
        section, _, name = key.rpartition(".")
        node = value_of(result, section) if section else result
        node[name] = CfgNode(value, new_allowed=True) if isinstance(value, dict) else value
    result.freeze()
    return result
