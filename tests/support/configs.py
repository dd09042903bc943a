"""Configurations for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fvcore.common.config import CfgNode

from slowfast.config import get_default_config, load_config
from slowfast.config.check import check
from slowfast.errors import ConfigError


def make_config(values: Mapping[str, Any], *changes: Any, checked: bool = True) -> CfgNode:
    """Returns the default configuration with other values, checked and frozen.

    Args:
        values: dotted key -> Python value.
        changes: further ``KEY, value`` pairs, which replace those of ``values``.
        checked: False for the configuration of a part, such as a data set, which a test may change.
    """
    merged = {**values, **dict(zip(changes[::2], changes[1::2], strict=True))}
    cfg = get_default_config()
    cfg.merge_from_list([item for pair in merged.items() for item in pair])
    if checked:
        assert check(cfg) == []
        cfg.freeze()
    return cfg


def load_changed(base: str, *changes: Any) -> CfgNode:
    """Returns a shipped configuration with ``KEY, value`` pairs; the last value of a key wins."""
    settings = dict(zip(changes[::2], changes[1::2], strict=True))
    return load_config(base, [str(part) for pair in settings.items() for part in pair])


def problems_of(path: Path | str, *overrides: str, for_run: bool = False) -> list[str]:
    """Returns the problems for which a configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides, for_run=for_run)
    return caught.value.problems


def set_keys(cfg: dict[str, Any], **values: object) -> None:
    """Sets keys that are written with two underscores instead of a dot."""
    for key, value in values.items():
        *sections, leaf = key.split("__")
        node: Any = cfg
        for name in sections:
            node = node[name]
        node[leaf] = value
