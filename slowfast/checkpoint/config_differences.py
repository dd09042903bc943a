"""Comparison of two configurations, key by key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


def config_differences(before: str, now: str, ignored: tuple[str, ...] = ()) -> list[str]:
    """Returns ``KEY: old → new`` for each key with different values in two configurations in YAML.

    Args:
        ignored: beginnings of keys that are not compared. Keys that only one of the two has are not compared
            either.
    """
    old, new = _flatten(yaml.safe_load(before or "{}")), _flatten(yaml.safe_load(now or "{}"))
    return [
        f"{key}: {old[key]!r} → {new[key]!r}"
        for key in old
        if key in new and old[key] != new[key] and not key.startswith(ignored)
    ]


def _flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Returns dotted key -> value of all leaves of nested mappings."""
    if not isinstance(node, Mapping):
        return {prefix: node}
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat.update(_flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat
