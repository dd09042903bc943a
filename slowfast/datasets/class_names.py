"""Names of classes: from a file, or from the checkpoint that stores them. K classes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slowfast.datasets.text_files import read_text
from slowfast.errors import AnnotationError, ConfigError

# A line of a numbered text file: ``3 archery`` or ``3,archery``.
_NUMBERED = re.compile(r"(\d+)[\s,:;.]+(\S.*)")


def read_class_names(path: str | Path, num_classes: int) -> list[str]:
    """Reads the K class names of a file; without a path the names are the class indices.

    The file is json: a mapping of class name to index, or of index to class name, or a list of names. Or it
    is text with one name per line; lines may begin with the class's number, from 0 or from 1.

    Raises:
        ConfigError: where the file has another form, or its indices are not 0 to K - 1.
    """
    if not path:
        return [str(k) for k in range(num_classes)]
    try:
        names = _parse(read_text(str(path)))
    except AnnotationError as error:
        raise ConfigError(f"DATA.CLASS_NAMES = {str(path)!r}: {error}") from None
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"DATA.CLASS_NAMES = {str(path)!r}: must be json with class names and indices, such as "
            f'{{"archery": 0}}, or text with one name per line ({error})'
        ) from None
    if sorted(names) != list(range(num_classes)):
        raise ConfigError(f"DATA.CLASS_NAMES = {str(path)!r}: {_describe_indices(names, num_classes)}")
    return [names[index] for index in range(num_classes)]


def named_classes(path: str | Path, num_classes: int) -> tuple[str, ...]:
    """Returns the names of :func:`read_class_names`; without a path none, instead of the class indices."""
    return tuple(read_class_names(path, num_classes)) if path else ()


def choose_class_names(path: str | Path, stored: Sequence[Any], num_classes: int) -> list[str]:
    """Returns the names in the file ``path``; without a path those that a checkpoint stores, else indices.

    Stored names are not used where their number is not K.
    """
    if not path and len(stored) == num_classes:
        return [str(name) for name in stored]
    return read_class_names(path, num_classes)


def _parse(text: str) -> dict[int, str]:
    """Returns index -> name.

    Raises:
        ValueError, TypeError: where the text has another form.
    """
    if text.lstrip()[:1] not in ("{", "["):
        return _parse_lines([line.strip() for line in text.splitlines() if line.strip()])
    content = json.loads(text)
    if isinstance(content, list):
        return {index: str(name) for index, name in enumerate(content)}
    by_index = all(key.isdecimal() for key in content) and not all(_is_index(v) for v in content.values())
    pairs = content.items() if by_index else ((index, name) for name, index in content.items())
    names: dict[int, str] = {}
    for index, name in pairs:
        if not _is_index(index):
            raise ValueError(f"{index!r} is not an index of a class")
        if int(index) in names:
            raise ValueError(f"{names[int(index)]!r} and {name!r} both have the index {int(index)}")
        names[int(index)] = str(name)
    return names


def _parse_lines(lines: Sequence[str]) -> dict[int, str]:
    matches = [_NUMBERED.fullmatch(line) for line in lines]
    numbers = [int(match[1]) for match in matches if match]
    first = min(numbers, default=0)
    # Only consecutive numbers are numbers of classes: a name such as "3 point shot" may begin with one.
    if (
        len(numbers) == len(lines)
        and first in (0, 1)
        and sorted(numbers) == list(range(first, first + len(lines)))
    ):
        return {int(match[1]) - first: match[2] for match in matches if match}
    return dict(enumerate(lines))


def _is_index(value: Any) -> bool:
    return str(value).isdecimal() and not isinstance(value, bool)


def _describe_indices(names: Mapping[int, str], num_classes: int) -> str:
    """Returns the difference between the indices and 0 to K - 1 as a sentence."""
    outside = [index for index in sorted(names) if index >= num_classes]
    absent = [index for index in range(num_classes) if index not in names]
    found = f"has {len(names)} names, but MODEL.NUM_CLASSES is {num_classes}; "
    if outside:
        found += f"{names[outside[0]]!r} has the index {outside[0]}, which is above {num_classes - 1}; "
    elif absent:
        found += f"index {absent[0]} has no name; "
    return found + "name each class once, with indices from 0"
