"""Loading a configuration (being completed)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast.config.defaults import get_default_config


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
    """Reads a configuration file over the defaults, then ``KEY VALUE`` overrides, and freezes it."""
    cfg = get_default_config()
    cfg.merge_from_file(str(path))
    cfg.merge_from_list(list(overrides))
    cfg.freeze()
    return cfg
