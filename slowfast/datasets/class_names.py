"""Names of classes: from a file, or from the checkpoint that stores them. K classes."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from slowfast.datasets.shards.find import find_class_file
from slowfast.datasets.text_files import CLASSES_FILE, read_utf8
from slowfast.errors import AnnotationError, ConfigError
from slowfast.files import parse_json
from slowfast.log import get_logger, log_once

logger = get_logger(__name__)

# A line of a numbered text file: ``3 archery`` or ``3,archery``.
_NUMBERED = re.compile(r"(?P<number>\d+)[\s,:;.]+(?P<name>\S.*)", re.ASCII)
# A line with the number last: ``archery 3`` or ``archery,3``.
_NUMBERED_LAST = re.compile(r"(?P<name>.*[^\s,:;])[\s,:;]+(?P<number>\d+)", re.ASCII)


def class_text(name: str, index: int) -> str:
    """Returns the name of a class for people to read, in which a number alone could be a score.

    >>> class_text("right", 1), class_text("1", 1)
    ('right', 'class 1')
    """
    return f"class {index}" if name == str(index) else name


def class_texts(names: Sequence[str]) -> list[str]:
    """Returns :func:`class_text` of all classes, in their order."""
    return [class_text(name, index) for index, name in enumerate(names)]


def read_class_names(path: str | Path, num_classes: int, *, key: str = "DATA.CLASS_NAMES") -> list[str]:
    """Reads the K class names of a file.

    The file is json: a mapping of class name to index, or of index to class name, or a list of names. Or it
    is text with one name per line; lines may begin or end with the class's number, from 0 or from 1.

    Args:
        key: the config key that names the file, for messages.

    Raises:
        ConfigError: where the file has another form, its indices are not 0 to K - 1, or two classes have one
            name.
    """
    try:
        names = _parse(read_utf8(str(path)))
    except AnnotationError as error:
        raise ConfigError(f"{key} = {str(path)!r}: {error}") from None
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{key} = {str(path)!r}: must be json with class names and indices, such as "
            f'{{"archery": 0}}, or text with one name per line ({error})'
        ) from None
    if sorted(names) != list(range(num_classes)):
        raise ConfigError(f"{key} = {str(path)!r}: {_describe_indices(names, num_classes)}")
    ordered = [names[index] for index in range(num_classes)]
    if repeated := [name for name, count in Counter(ordered).items() if count > 1]:
        both = " and ".join(str(index) for index, name in enumerate(ordered) if name == repeated[0])
        raise ConfigError(
            f"{key} = {str(path)!r}: {repeated[0]!r} is the name of the classes {both}; give each "
            "class its own name"
        )
    return ordered


def find_class_names(path: str, data_dir: str, num_classes: int) -> tuple[str, ...]:
    """Returns the K names in the file ``path``, else in ``classes.json`` beside the lists or shards, else ().

    The latter file is not used, and a warning says why, where it does not name K classes.

    Args:
        path: ``DATA.CLASS_NAMES``.
        data_dir: ``DATA.PATH_TO_DATA_DIR``.

    Raises:
        ConfigError: for a file ``path`` that does not name K classes.
    """
    if path or not data_dir:
        return named_classes(path, num_classes)
    beside = Path(data_dir, CLASSES_FILE)
    if not beside.is_file():
        if not (of_shards := find_class_file(data_dir)):
            return ()
        beside = Path(of_shards)
    try:
        return named_classes(beside, num_classes)
    except ConfigError as error:
        problem = error.problems[0].removeprefix(f"DATA.CLASS_NAMES = {str(beside)!r}: ")
        log_once(logger, f"class names: {beside} is not used: {problem}", logging.WARNING)
        return ()


def named_classes(path: str | Path, num_classes: int) -> tuple[str, ...]:
    """Returns the names of :func:`read_class_names`; an empty tuple without a path."""
    return tuple(read_class_names(path, num_classes)) if path else ()


def build_class_names(cfg: CfgNode, stored: Sequence[Any] = ()) -> list[str]:
    """Returns the names in ``DATA.CLASS_NAMES``, else the stored ones, else of :func:`find_class_names`.

    Without any of them the names are the class indices.

    Args:
        stored: names that a checkpoint stores; used only where there are K of them.
    """
    path, num_classes = cfg.DATA.CLASS_NAMES, cfg.MODEL.NUM_CLASSES
    if not path and len(stored) == num_classes:
        return [str(name) for name in stored]
    found = find_class_names(path, cfg.DATA.PATH_TO_DATA_DIR, num_classes)
    return list(found) or [str(index) for index in range(num_classes)]


def _parse(text: str) -> dict[int, str]:
    """Returns index -> name.

    Raises:
        ValueError, TypeError: where the text has another form.
    """
    if text.lstrip()[:1] not in ("{", "["):
        return _parse_lines([line.strip() for line in text.splitlines() if line.strip()])
    content = parse_json(text)
    if isinstance(content, list):
        return {index: _checked_name(name) for index, name in enumerate(content)}
    by_index = all(key.isdecimal() for key in content) and not all(_is_index(v) for v in content.values())
    pairs = content.items() if by_index else ((index, name) for name, index in content.items())
    names: dict[int, str] = {}
    for index, name in pairs:
        if not _is_index(index):
            raise ValueError(f"{index!r} is not an index of a class")
        if int(index) in names:
            raise ValueError(f"{names[int(index)]!r} and {name!r} both have the index {int(index)}")
        names[int(index)] = _checked_name(name)
    return names


def _checked_name(value: Any) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise ValueError(f"{value!r} is not a class name")
    str(value).encode()  # json may contain the escape of half a character
    return str(value)


def _parse_lines(lines: Sequence[str]) -> dict[int, str]:
    """Returns index -> name of lines that are not blank."""
    if all(len(line) > 2 and line[0] == line[-1] == '"' for line in lines):
        lines = [line[1:-1].replace('""', '"') for line in lines]
    for form in (_NUMBERED, _NUMBERED_LAST):
        matches = [match for line in lines if (match := form.fullmatch(line))]
        numbers = [int(match["number"]) for match in matches]
        names = [match["name"].strip('"') for match in matches]
        # A name may contain a number, such as "3 point shot". Numbers of classes stand in all lines, once
        # each, and the names differ without them, too.
        if len(matches) == len(lines) > 1 and len(set(numbers)) == len(set(names)) == len(lines):
            first = min(min(numbers), 1)
            return {number - first: name for number, name in zip(numbers, names, strict=True)}
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
    if names and sorted(names) == list(range(len(names))):
        found += f"set MODEL.NUM_CLASSES {len(names)}, or "
    return found + "name each class once, with indices from 0"
