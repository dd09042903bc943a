"""A journal of the result of each file, written at once, so that an interrupted run can be continued."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Self

from slowfast.errors import DataError
from slowfast.files import parse_json

FileState = list[int]
"""Size and modification time; an empty list for a missing file."""

# Each line begins so, by which a file that is not a journal is recognised.
_BEGINNING = b'{"path":'


class Journal:
    """Results by file, appended as lines of JSON; used as a context manager.

    A result is valid as long as size and modification time of the file, and the settings, are the same.
    Results of other settings stay in the journal.

    Args:
        path: of the journal; created where it is missing.
        settings: all other values that the results depend on.

    Raises:
        DataError: for a file that is not a journal, and on entering for one that cannot be written.
    """

    def __init__(self, path: str | Path, settings: dict[str, Any]) -> None:
        self._path = Path(path)
        self._settings = json.dumps(settings, sort_keys=True)
        self._known: dict[str, dict[str, Any]] = {}
        if self._path.exists():
            with self._path.open("rb") as file:
                for number, line in enumerate(file):
                    # A run that was killed may have written less than a line.
                    if number == 0 and not (line.startswith(_BEGINNING) or _BEGINNING.startswith(line)):
                        raise DataError(f"{path}: is not a journal of this program; choose another --journal")
                    self._read_line(line)

    def _read_line(self, line: bytes) -> None:
        try:
            entry = parse_json(line)
            if entry.keys() >= {"state", "result"} and entry["settings"] == self._settings:
                self._known[entry["path"]] = entry
        except (ValueError, KeyError, TypeError, AttributeError):
            pass  # a line that was cut off when a run was killed, or is damaged

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise DataError(
                f"{self._path}: cannot be written ({error.strerror}); name another file for the results by "
                "--journal"
            ) from error
        if self._file.tell():
            self._file.write("\n")  # completes a line that was cut off
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def find(self, path: str) -> Any | None:
        """Returns the result for the file as it is now; None where the journal has no valid one."""
        entry = self._known.get(path)
        if entry is None or entry["state"] != state_of(path):
            return None
        return entry["result"]

    def add(self, path: str, state: FileState, result: Any) -> None:
        """Appends a result that JSON can represent, unless the file has changed since the work on it began.

        Args:
            state: of the file before the work.
        """
        if state != state_of(path):
            return
        entry = {"path": path, "state": state, "settings": self._settings, "result": result}
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()


def state_of(path: str) -> FileState:
    """Returns the state of a file, by which a change of its content is noticed."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return []
    return [status.st_size, status.st_mtime_ns]
