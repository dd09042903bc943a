"""Lists as they lie on the disk: text with line numbers, csv, json, and the videos below a folder."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from typing import Any

from slowfast.errors import AnnotationError

# In a data set's folder: class name -> index.
CLASSES_FILE = "classes.json"
VIDEO_SUFFIXES = frozenset({".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".gif"})


def read_lines(path: str) -> Iterator[tuple[int, str]]:
    """Yields number and text of the lines of a file that are not blank."""
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.strip()
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror})") from error


def read_table(path: str, *, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yields line number and cells of a csv file with quotes; blank lines are left out."""
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield reader.line_num, [cell.strip() for cell in row]
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror})") from error
    except csv.Error as error:
        raise AnnotationError(f"{path}, line {reader.line_num}: is no csv ({error})") from error


def read_json(path: str, kind: type) -> Any:
    """Reads a json file whose value is a ``dict`` or a ``list``."""
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror})") from error
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{path}, line {error.lineno}: is no json ({error.msg})") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: is no UTF-8 text ({error})") from error
    if not isinstance(value, kind):
        raise AnnotationError(f"{path}: holds a {type(value).__name__}, not a {kind.__name__}")
    return value


def find_class_folders(folder: str) -> list[str]:
    """Names of the folders in a folder, sorted; hidden ones (``.git``, ``.ipynb_checkpoints``) are none."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def find_videos(folder: str) -> list[str]:
    """Paths of the video files (by suffix) below a folder, relative to it, sorted.

    Links to folders are followed, but not those that lead back to a folder above them.
    """
    found = []
    # Of each folder to be walked: its real path, and those of the folders above it, from ``folder`` on.
    lines: dict[str, tuple[str, ...]] = {folder: (os.path.realpath(folder),)}
    for place, folders, files in os.walk(folder, followlinks=True):
        line = lines.pop(place)
        below = {name: _real_path(place, name, line[-1]) for name in folders if not name.startswith(".")}
        folders[:] = [name for name, real in below.items() if real not in line]
        lines.update((os.path.join(place, name), (*line, below[name])) for name in folders)
        videos = [
            name
            for name in files
            if os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES and not name.startswith(".")
        ]
        found += [os.path.relpath(os.path.join(place, name), folder) for name in videos]
    return sorted(found)


def _real_path(place: str, name: str, real_place: str) -> str:
    """The real path of ``name`` in ``place``; only a link needs more than a look at it."""
    path = os.path.join(place, name)
    return os.path.realpath(path) if os.path.islink(path) else os.path.join(real_place, name)
