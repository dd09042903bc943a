"""A journal of the result of each file, written at once, so that an interrupted run can be continued."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Journal:
    """Results by file, appended as lines of JSON; used as a context manager.

    A result is valid as long as size and modification time of the file, and the settings, are the same.

    Args:
        path: of the journal; created where it is missing.
        settings: all other values that the results depend on.
    """

    def __init__(self, path: str | Path, settings: dict[str, Any]) -> None:
        self._path = Path(path)
        self._settings = json.dumps(settings, sort_keys=True)
        self._known: dict[str, dict[str, Any]] = {}
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                self._read_line(line)

    def _read_line(self, line: str) -> None:
        try:
            entry = json.loads(line)
            self._known[entry["path"]] = entry
        except (json.JSONDecodeError, KeyError, TypeError):
            pass  # a line that was cut off when a run was killed

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a", encoding="utf-8")
        if self._file.tell():
            self._file.write("\n")  # completes a line that was cut off
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def find(self, path: str) -> Any | None:
        """Returns the result for the file as it is now; None where the journal has no valid one."""
        entry = self._known.get(path)
        if entry is None or entry["state"] != _state(path) or entry["settings"] != self._settings:
            return None
        return entry["result"]

    def add(self, path: str, result: Any) -> None:
        """Appends a result that JSON can represent."""
        entry = {"path": path, "state": _state(path), "settings": self._settings, "result": result}
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()


def _state(path: str) -> list[int]:
    """Returns size and modification time; an empty list for a missing file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return []
    return [status.st_size, status.st_mtime_ns]
