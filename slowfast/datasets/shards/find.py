"""The shards of a split, by a folder, or by a pattern with braces and wildcards."""

from __future__ import annotations

import glob
import os
import re

from slowfast.datasets.shards.manifest import MANIFEST, ShardManifest
from slowfast.datasets.text_files import CLASSES_FILE
from slowfast.errors import AnnotationError

SPLIT_FIELD = "{split}"
"""Field of a pattern that stands for train, val or test."""

SUFFIX = ".tar"
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_WILDCARDS = frozenset("*?[")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4")
_MOST_SHARDS = 1_000_000


def is_pattern(path: str) -> bool:
    """Returns whether a path names shards by a pattern, or one shard, instead of a folder."""
    has_mark = not _WILDCARDS.union("{").isdisjoint(path) or path.endswith(SUFFIX)
    return has_mark and not os.path.isdir(path)


def find_shards(path: str, split: str) -> list[str]:
    """Returns the paths of the shards of a split, in their order.

    Args:
        path: a folder, which contains ``SPLIT/*.tar``, else ``SPLIT-*.tar`` or ``SPLIT_*.tar``; or a pattern
            such as ``shards/{split}/shard-{000000..000010}.tar`` or ``shards/{split}/*.tar``.
        split: train, val or test.

    Raises:
        AnnotationError: where some of them, or all, are missing or compressed.
    """
    if is_pattern(path):
        shards = _expand(path.replace(SPLIT_FIELD, split))
    else:
        shards = _list_folder(path, split)
    for folder in dict.fromkeys(os.path.dirname(shard) for shard in shards):
        if (manifest := ShardManifest.read(folder)) is not None:
            manifest.check(folder)
    return shards


def find_class_file(path: str) -> str | None:
    """Returns the file of class names that ``slowfast prepare shard`` has put beside the shards of a split.

    Args:
        path: see :func:`find_shards`; shards of other programs have none.
    """
    splits = ("train", "val", "test")
    if is_pattern(path):
        folders = [os.path.dirname(path.replace(SPLIT_FIELD, split)) for split in splits]
    else:
        folders = [os.path.join(path, split) for split in splits]
    for folder in folders:
        file = os.path.join(folder, CLASSES_FILE)
        if os.path.isfile(os.path.join(folder, MANIFEST)) and os.path.isfile(file):
            return file
    return None


def expand_braces(pattern: str) -> list[str]:
    """Returns the texts that a pattern with braces stands for, as in a shell.

    >>> expand_braces("{a,b}-{08..10}.tar")
    ['a-08.tar', 'a-09.tar', 'a-10.tar', 'b-08.tar', 'b-09.tar', 'b-10.tar']
    """
    for match in _BRACES.finditer(pattern):
        if choices := _choices(match[1]):
            head, tail = pattern[: match.start()], pattern[match.end() :]
            return [text for choice in choices for text in expand_braces(f"{head}{choice}{tail}")]
    return [pattern]


def _choices(text: str) -> list[str]:
    """Returns what stands for the content of a pair of braces; empty where it is another text."""
    if (match := _RANGE.fullmatch(text)) is None:
        return text.split(",") if "," in text else []
    first, last = int(match[1]), int(match[2])
    if abs(last - first) >= _MOST_SHARDS:
        raise AnnotationError(f"{{{text}}}: must stand for fewer than {_MOST_SHARDS} shards")
    padded = any(end[0] == "0" and len(end) > 1 for end in match.groups())
    width = max(map(len, match.groups())) if padded else 0
    step = 1 if first <= last else -1
    return [f"{number:0{width}d}" for number in range(first, last + step, step)]


def _expand(pattern: str) -> list[str]:
    found: list[str] = []
    missing: list[str] = []
    for path in expand_braces(pattern):
        # A file may have a wildcard in its name.
        matches = [path] if os.path.isfile(path) else sorted(glob.glob(path))
        found += matches
        missing += [] if matches else [path]
    if missing:
        raise AnnotationError(
            f"{pattern}: {len(missing)} of its shards do not exist, such as {missing[0]}; check "
            "DATA.PATH_TO_DATA_DIR"
        )
    _refuse_compressed(found)
    return list(dict.fromkeys(found))


def _list_folder(folder: str, split: str) -> list[str]:
    escaped = glob.escape(folder)
    patterns = [f"{split}/*", f"{split}-*", f"{split}_*"]
    for pattern in patterns:
        paths = sorted(glob.glob(os.path.join(escaped, pattern)))
        _refuse_compressed(paths)
        if shards := [path for path in paths if path.endswith(SUFFIX)]:
            if (manifest := ShardManifest.read(os.path.dirname(shards[0]))) is not None:
                manifest.check_all_present(shards)
            return shards
    message = f"{folder}: contains no shards of the split {split!r}, {split}/*.tar or {split}-*.tar"
    if glob.glob(os.path.join(escaped, "*.tar")):
        message += f"; to read the shards in the folder itself, write {os.path.join(folder, '*.tar')}"
    raise AnnotationError(f"{message}; check DATA.PATH_TO_DATA_DIR")


def _refuse_compressed(paths: list[str]) -> None:
    for path in paths:
        name = path.lower()
        if name.endswith((".tgz", *(f"{SUFFIX}{ending}" for ending in _COMPRESSED))):
            raise AnnotationError(
                f"{path}: is compressed, so that its videos cannot be read one by one; unpack it to .tar, "
                "such as with gunzip (videos are compressed already, and the archive hardly grows)"
            )
