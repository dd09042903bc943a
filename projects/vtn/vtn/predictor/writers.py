"""Files of predictions, written while the predictions are made: JSON, CSV and JSON lines."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO

from slowfast.files import atomic_write, naming_file, write_text
from vtn.inference.prediction import Prediction, csv_header

STANDARD_OUTPUT = "-"

Write = Callable[[Prediction], None]
"""Writes one prediction."""


def head_of_results(class_names: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what holds for all predictions of a file: the names of the classes, and the settings."""
    return {"classes": list(class_names), "settings": dict(settings)}


def settings_path(lines_path: str | Path) -> Path:
    """Returns the file beside JSON lines that has :func:`head_of_results`."""
    return Path(f"{lines_path}.settings.json")


@contextmanager
def _json_writer(file: TextIO, head: Mapping[str, Any], top: int) -> Iterator[Write]:
    """Yields a function that adds predictions to one object: ``head``, and the entry ``videos``."""
    file.write(_head_as_json(head) + ',\n"videos": [')
    separator = "\n"

    def write(prediction: Prediction) -> None:
        nonlocal separator
        file.write(separator + json.dumps(prediction.to_dict(top), ensure_ascii=False))
        separator = ",\n"

    yield write
    file.write("\n]}\n")


def _head_as_json(head: Mapping[str, Any]) -> str:
    """Returns the beginning of an object, one entry per line."""
    entries = (f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items())
    return "{\n" + ",\n".join(entries)


def _json_lines_writer(file: TextIO, top: int) -> Write:
    """Returns a function that writes one object per line, complete on the disk when it returns."""

    def write(prediction: Prediction) -> None:
        file.write(json.dumps(prediction.to_dict(top), ensure_ascii=False) + "\n")
        file.flush()

    return write


def _csv_writer(file: TextIO, class_names: Sequence[str]) -> Write:
    """Returns a function that writes a row per video and per window."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(csv_header(class_names))
    return lambda prediction: writer.writerows(prediction.rows())


@contextmanager
def open_writers(
    class_names: Sequence[str],
    top: int,
    *,
    settings: Mapping[str, Any],
    json_path: str = "",
    csv_path: str = "",
    lines_path: str = "",
    append_lines: bool = False,
) -> Iterator[Write]:
    """Yields a function that writes each prediction to all files that have a path.

    ``-`` is standard output. JSON and CSV files appear when the block ends without an exception; JSON lines
    are in their file at once.

    Args:
        class_names: K names.
        top: best classes of each video that are written by name.
        settings: how the predictions are made, for the JSON file and for a file beside the lines.
        append_lines: whether the JSON lines are added to those that the file has.
    """
    head = head_of_results(class_names, settings)
    with ExitStack() as stack:
        writers: list[tuple[str, Write]] = []
        if json_path:
            file = stack.enter_context(_open(json_path))
            writers.append((json_path, stack.enter_context(_json_writer(file, head, top))))
        if csv_path:
            file = stack.enter_context(_open(csv_path))
            writers.append((csv_path, _csv_writer(file, class_names)))
        if lines_path:
            file = stack.enter_context(_open(lines_path, in_place="a" if append_lines else "w"))
            writers.append((lines_path, _json_lines_writer(file, top)))
            # After the lines of an earlier command are gone: they were made with other settings.
            if Path(lines_path).is_file():
                with naming_file(described := settings_path(lines_path)):
                    write_text(described, _head_as_json(head) + "\n}\n")

        def write(prediction: Prediction) -> None:
            for path, write_one in writers:
                with naming_file(_shown(path)):
                    write_one(prediction)

        yield write


@contextmanager
def _open(path: str, *, in_place: Literal["", "w", "a"] = "") -> Iterator[TextIO]:
    """Opens a text file; file names in it that are not UTF-8 keep their bytes.

    Args:
        in_place: ``w`` or ``a``: the file grows under its own name; empty: it appears when it is complete.
    """
    with naming_file(_shown(path)), ExitStack() as stack:
        if path == STANDARD_OUTPUT:
            yield stack.enter_context(_keeping_bytes(sys.stdout))
            return
        if in_place:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        opened = path if in_place else stack.enter_context(atomic_write(path))
        with open(opened, in_place or "w", encoding="utf-8", errors="surrogateescape") as file:
            yield file


def _shown(path: str) -> str:
    """Returns the name of a file of results for messages."""
    return "standard output" if path == STANDARD_OUTPUT else path


@contextmanager
def _keeping_bytes(file: TextIO) -> Iterator[TextIO]:
    """Makes an open text file accept file names that are not valid text, which it gets as their bytes."""
    if not isinstance(file, io.TextIOWrapper):  # a file in memory accepts any text
        yield file
        return
    errors = file.errors
    file.reconfigure(errors="surrogateescape")
    try:
        yield file
    finally:
        file.reconfigure(errors=errors)
