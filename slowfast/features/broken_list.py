"""The list of videos that an extraction could not read, ``broken.json`` in a feature cache.

Several processes, and several extractions at a time, write to one list, each the entries of its own videos.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from slowfast.features.cache import FeatureNames
from slowfast.files import hold_lock, write_text

_LIST = "broken.json"
# Seconds to wait for a process that writes the list.
_LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class BrokenEntry:
    """A video without features.

    Attributes:
        path: of the video.
        reason, detail: see :class:`slowfast.errors.DecodeError`.
        name: name of the video in the cache; empty in lists of earlier versions.
    """

    path: str
    reason: str
    detail: str
    name: str = ""


def update_broken(
    folder: str | Path, names: FeatureNames, found: Sequence[BrokenEntry], handled: Iterable[str]
) -> Path:
    """Replaces the entries of the handled videos by those that were found now; returns the list's path.

    Entries of other videos stay. A list without entries is deleted.

    Args:
        names: maps the paths in lists of earlier versions to names in the cache.
        handled: names in the cache of all videos that were tried; read only where there are entries.

    Raises:
        filelock.Timeout: where another process has been writing the list for a minute.
        OSError: where the list cannot be written.
    """
    path = Path(folder, _LIST)
    with hold_lock(path.with_name(".broken.lock"), _LOCK_SECONDS):
        earlier = _lists(folder)
        entries = {entry.name or names(entry.path): entry for file in earlier for entry in _read(file)}
        if entries:
            for name in handled:
                entries.pop(name, None)
        entries |= {entry.name: entry for entry in found}
        if entries:
            text = json.dumps([asdict(entry) for entry in entries.values()], indent=1) + "\n"
            write_text(path, text)
        for file in earlier:
            if file != path or not entries:
                file.unlink(missing_ok=True)
    return path


def find_failure(folder: str | Path, names: FeatureNames, path: str) -> tuple[str, str]:
    """Returns why a cache has no features of a video, as reason and detail."""
    name = names(path)
    for file in _lists(folder):
        for entry in _read(file):
            if (entry.name or names(entry.path)) == name:
                return entry.reason, f"{entry.detail}; found by the extraction".removeprefix("; ")
    return "no features", f"{folder} has none of it; run `slowfast extract` again, which adds what is missing"


def _lists(folder: str | Path) -> list[Path]:
    """Returns the existing lists; earlier versions wrote one per process, ``broken-RANK.json``."""
    return sorted({*Path(folder).glob("broken-*.json"), *Path(folder).glob(_LIST)})


def _read(file: Path) -> Iterator[BrokenEntry]:
    """Yields the entries of a list; none where it is missing or damaged."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        for entry in json.loads(file.read_text(encoding="utf-8")):
            if all(isinstance(value, str) for value in entry.values()):
                yield BrokenEntry(**entry)
