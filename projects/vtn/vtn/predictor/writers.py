"""Files of predictions, written while the predictions are made: JSON, CSV and JSON lines."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from slowfast.files import atomic_write
from vtn.inference.prediction import Prediction

STANDARD_OUTPUT = "-"

Write = Callable[[Prediction], None]
"""Writes one prediction."""


@contextmanager
def json_writer(file: TextIO, class_names: Sequence[str], top: int) -> Iterator[Write]:
    """Yields a function that adds predictions to one object with ``classes`` and ``videos``."""
    file.write('{\n"classes": ' + json.dumps(list(class_names), ensure_ascii=False) + ',\n"videos": [')
    separator = "\n"

    def write(prediction: Prediction) -> None:
        nonlocal separator
        file.write(separator + json.dumps(prediction.to_dict(top), ensure_ascii=False))
        separator = ",\n"

    yield write
    file.write("\n]}\n")


@contextmanager
def json_lines_writer(file: TextIO, class_names: Sequence[str], top: int) -> Iterator[Write]:
    """Yields a function that writes one object per line, complete on the disk when it returns."""

    def write(prediction: Prediction) -> None:
        file.write(json.dumps(prediction.to_dict(top), ensure_ascii=False) + "\n")
        file.flush()

    yield write


@contextmanager
def csv_writer(file: TextIO, class_names: Sequence[str], top: int) -> Iterator[Write]:
    """Yields a function that writes a row per video and per window: video, start, end, error, K scores."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["video", "start", "end", "error", *class_names])

    def write(prediction: Prediction) -> None:
        if prediction.error:
            writer.writerow([prediction.video, "", "", prediction.error, *("" for _ in class_names)])
            return
        for start, end, scores in prediction.spans():
            row = (f"{score:.6g}" for score in scores)
            writer.writerow([prediction.video, f"{start:.3f}", f"{end:.3f}", "", *row])

    yield write


@contextmanager
def open_writers(
    class_names: Sequence[str], top: int, *, json_path: str = "", csv_path: str = "", lines_path: str = ""
) -> Iterator[Write]:
    """Yields a function that writes each prediction to all files that have a path.

    ``-`` is standard output. JSON and CSV files appear when the block ends without an exception; JSON lines
    are in their file at once.

    Args:
        class_names: K names.
        top: best classes of each video that are written by name.
    """
    with ExitStack() as stack:
        writers = []
        for path, writer in ((json_path, json_writer), (csv_path, csv_writer)):
            if path:
                file = stack.enter_context(_open(path, in_place=False))
                writers.append(stack.enter_context(writer(file, class_names, top)))
        if lines_path:
            file = stack.enter_context(_open(lines_path, in_place=True))
            writers.append(stack.enter_context(json_lines_writer(file, class_names, top)))

        def write(prediction: Prediction) -> None:
            for write_one in writers:
                write_one(prediction)

        yield write


@contextmanager
def _open(path: str, *, in_place: bool) -> Iterator[TextIO]:
    """Opens a text file; file names in it that are not UTF-8 keep their bytes.

    Args:
        in_place: True: the file grows under its own name; False: it appears when it is complete.
    """
    if path == STANDARD_OUTPUT:
        with _keeping_bytes(sys.stdout) as file:
            yield file
    elif in_place:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            yield file
    else:
        with (
            atomic_write(path) as temporary,
            open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file,
        ):
            yield file


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
