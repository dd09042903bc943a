"""Comparison of two configurations, key by key."""

from __future__ import annotations

from typing import Any

from slowfast.config.values import flatten
from slowfast.config.yaml_file import parse_yaml

_SOURCE = "the configuration of the run"


def config_differences(before: str, now: str, ignored: tuple[str, ...] = ()) -> list[str]:
    """Returns ``KEY: old → new`` for each key with different values in two configurations in YAML.

    Args:
        ignored: beginnings of keys that are not compared. Keys that only one of the two has are not compared
            either.
    """
    old, new = (flatten(parse_yaml(text, _SOURCE)) for text in (before, now))
    return [
        f"{key}: {old[key]!r} → {new[key]!r}"
        for key in old
        if key in new and old[key] != new[key] and not key.startswith(ignored)
    ]


def saved_value(config: str, key: str) -> Any:
    """Returns the value of a dotted key in a configuration in YAML; None where it has none."""
    return flatten(parse_yaml(config, _SOURCE)).get(key)
