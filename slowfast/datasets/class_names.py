"""Names of classes: from a json file, or from the checkpoint in which they travel. K classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slowfast.errors import ConfigError


def read_class_names(path: str | Path, num_classes: int) -> list[str]:
    """Reads a json file of class name -> index (or a list of names); classes without a name get their number.

    Without a path all classes get their numbers.

    Raises:
        ConfigError: where the file cannot be read as one.
    """
    names = [str(k) for k in range(num_classes)]
    if not path:
        return names
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if isinstance(content, list):
            content = {name: index for index, name in enumerate(content)}
        indices = {str(name): int(index) for name, index in content.items()}
    except (OSError, UnicodeDecodeError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f'{path}: is no json file of class name -> index, such as {{"archery": 0}} ({error})'
        ) from None
    for name, index in indices.items():
        if 0 <= index < num_classes:
            names[index] = name
    return names


def named_classes(path: str | Path, num_classes: int) -> tuple[str, ...]:
    """As :func:`read_class_names`, but empty without a path, so that nobody takes numbers for names."""
    return tuple(read_class_names(path, num_classes)) if path else ()


def choose_class_names(path: str | Path, stored: Sequence[Any], num_classes: int) -> list[str]:
    """The names in the json file ``path``; without one those that a checkpoint ``stored``; else numbers.

    Names that are stored for another number of classes are not taken.
    """
    if not path and len(stored) == num_classes:
        return [str(name) for name in stored]
    return read_class_names(path, num_classes)
