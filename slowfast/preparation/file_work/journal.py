"""What was found out about each file, written down at once: an interrupted run goes on where it was."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Journal:
    """Results by file, one line of json each, appended as they come; used as a context manager.

    A result counts as long as the file has the size and time that it had, and the settings are the same.

    Args:
        path: made when missing.
        settings: what else the results depend on.
    """

    def __init__(self, path: str | Path, settings: dict[str, Any]) -> None:
        self._path = Path(path)
        self._settings = json.dumps(settings, sort_keys=True)
        self._known: dict[str, dict[str, Any]] = {}
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                self._take(line)

    def _take(self, line: str) -> None:
        try:
            entry = json.loads(line)
            self._known[entry["path"]] = entry
        except (json.JSONDecodeError, KeyError, TypeError):
            pass  # the line during whose writing a run was killed

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a", encoding="utf-8")
        if self._file.tell():
            self._file.write("\n")  # ends a line that was cut off
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def find(self, path: str) -> Any | None:
        """The result written down for the file as it is now; None: there is none."""
        entry = self._known.get(path)
        if entry is None or entry["state"] != _state(path) or entry["settings"] != self._settings:
            return None
        return entry["result"]

    def add(self, path: str, result: Any) -> None:
        """Writes down a result that json can hold."""
        entry = {"path": path, "state": _state(path), "settings": self._settings, "result": result}
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()


def _state(path: str) -> list[int]:
    """Size and time of change; of a missing file nothing."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return []
    return [status.st_size, status.st_mtime_ns]
