"""The list of videos that an extraction could not read, ``broken.json`` in a feature cache.

Several processes, and several extractions at a time, write to one list, each the entries of its own videos.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from slowfast.files import hold_lock, parse_json, write_text

_LIST = "broken.json"
# Seconds to wait for a process that writes the list.
_LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class BrokenEntry:
    """A video without features.

    Attributes:
        path: of the video.
        reason, detail: see :class:`slowfast.errors.DecodeError`.
        name: name of the video in the cache.
    """

    path: str
    reason: str
    detail: str
    name: str


def update_broken(folder: str | Path, found: Sequence[BrokenEntry], handled: Iterable[str]) -> Path:
    """Replaces the entries of the handled videos by those that were found now; returns the list's path.

    Entries of other videos stay. A list without entries is deleted.

    Args:
        handled: names in the cache of all videos that were tried; read only where there are entries.

    Raises:
        filelock.Timeout: where another process has been writing the list for a minute.
        OSError: where the list cannot be written.
    """
    path = Path(folder, _LIST)
    with hold_lock(path.with_name(".broken.lock"), _LOCK_SECONDS):
        if entries := dict(_read(path)):
            for name in handled:
                entries.pop(name, None)
        entries |= {entry.name: entry for entry in found}
        if entries:
            text = json.dumps([asdict(entry) for entry in entries.values()], indent=1) + "\n"
            write_text(path, text)
        else:
            path.unlink(missing_ok=True)
    return path


def find_failure(folder: str | Path, name: str) -> tuple[str, str]:
    """Returns why a cache has no features of a video, by its name there, as reason and detail."""
    if (entry := _read(Path(folder, _LIST)).get(name)) is not None:
        return entry.reason, f"{entry.detail}; found by the extraction".removeprefix("; ")
    if not os.path.isdir(folder):
        return "no features", f"{folder} cannot be reached; mount its disk again, or extract the features"
    return "no features", f"{folder} has none of it; run `slowfast extract` again, which adds what is missing"


def _read(file: Path) -> Mapping[str, BrokenEntry]:
    """Returns the entries of a list by their names in the cache; none where it is missing or damaged."""
    try:
        status = file.stat()
    except OSError:
        return {}
    return _parse(file, (status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=4)
def _parse(file: Path, state: tuple[int, ...]) -> Mapping[str, BrokenEntry]:
    """Returns the entries of a list; a data set asks for each of its broken videos."""
    try:
        entries = [BrokenEntry(**entry) for entry in parse_json(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return {}
    valid = [entry for entry in entries if all(isinstance(value, str) for value in vars(entry).values())]
    return {entry.name: entry for entry in valid}
