"""Comparison of two configurations, key by key."""

from __future__ import annotations

import yaml

from slowfast.config.values import flatten


def config_differences(before: str, now: str, ignored: tuple[str, ...] = ()) -> list[str]:
    """Returns ``KEY: old → new`` for each key with different values in two configurations in YAML.

    Args:
        ignored: beginnings of keys that are not compared. Keys that only one of the two has are not compared
            either.
    """
    old, new = (flatten(yaml.safe_load(text or "{}")) for text in (before, now))
    return [
        f"{key}: {old[key]!r} → {new[key]!r}"
        for key in old
        if key in new and old[key] != new[key] and not key.startswith(ignored)
    ]
