"""Rows of a list from a table with a row per video: csv with a header, or a json list of objects."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Mapping

from slowfast.datasets.text_files import read_json, read_lines, read_table
from slowfast.datasets.video_list import COLUMN_OF, LABEL, PATH
from slowfast.errors import AnnotationError, UsageError, counted

_DELIMITERS = ",;\t|"
_SEVERAL = r"[^,;|]+"


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a table."""
    table = parser.add_argument_group("a table, csv with a header or a json list of objects")
    table.add_argument(
        "--path",
        metavar="PATTERN",
        help="path of a video, with columns in braces: 'clips/{id}.mp4' (default: 'path' or a synonym)",
    )
    table.add_argument(
        "--label", metavar="COLUMN", help="column of class names or indices (default: 'label' or a synonym)"
    )
    table.add_argument(
        "--label-pattern",
        metavar="REGEX",
        help="a label in a cell (default: all of it, or between , ; and | with --multi-label)",
    )


def read_labels(args: argparse.Namespace) -> dict[str, list[str]]:
    """Returns path -> labels as written, of the rows of a table; several rows of a path are joined.

    Raises:
        AnnotationError: where the table cannot be read, or none of its videos exists or has a label.
        UsageError: for a column that it lacks, and for a pattern that is not a regular expression.
    """
    try:
        expression = re.compile(args.label_pattern or (_SEVERAL if args.multi_label else "(?s).+"))
    except re.error as error:
        raise UsageError(
            f"--label-pattern {args.label_pattern!r}: must be a regular expression ({error})"
        ) from error
    found: dict[str, list[str]] = {}
    pattern, label = args.path, args.label
    for place, row in _read_rows(args.folder):
        pattern = pattern or "{" + _find_column(PATH, row, args.folder) + "}"
        label = label or _find_column(LABEL, row, args.folder)
        try:
            path, cell = os.path.join(args.videos, pattern.format_map(row)), row[label]
        except (KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
            raise UsageError(
                f"--path {pattern!r}, --label {label!r}: do not fit {place} ({error}), which has the columns "
                f"{', '.join(row)}"
            ) from error
        text = "" if cell is None else str(cell)
        new = map(str, cell) if isinstance(cell, list) else [match[0] for match in expression.finditer(text)]
        labels = found.setdefault(path, [])
        labels += [name for name in dict.fromkeys(map(str.strip, new)) if name and name not in labels]
        if len(labels) > 1 and not args.multi_label:
            raise AnnotationError(f"{place}: {path} has a second label, {labels[1]!r}; use --multi-label")
    if not any(found.values()):
        raise AnnotationError(
            f"{args.folder}: has no row with a label; add rows below the names of the columns, or change "
            "--label"
        )
    if not any(map(os.path.exists, found)):
        raise AnnotationError(
            f"{args.folder}: none of its videos exists, such as {next(iter(found))!r}; change "
            "--path, or name their folder by --videos"
        )
    return found


def _read_rows(path: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yields the place of each row, for messages, and column -> value."""
    if path.lower().endswith(".json"):
        for number, entry in enumerate(read_json(path, list), 1):
            if not isinstance(entry, dict):
                raise AnnotationError(
                    f"{path}, entry {number}: {entry!r} must be an object with names and values"
                )
            yield f"{path}, entry {number}", entry
        return
    first, header = next(read_lines(path), (0, ""))
    delimiter = max(_DELIMITERS, key=header.count)
    names: list[str] = []
    for line, cells in read_table(path, delimiter=delimiter):
        if names and len(cells) != len(names):
            raise AnnotationError(
                f"{path}, line {line}: has {counted(len(cells), 'column')}, and line {first} has "
                f"{len(names)}; write quotes around cells with {delimiter!r}"
            )
        if names:
            yield f"{path}, line {line}", dict(zip(names, cells, strict=True))
        names = names or cells


def _find_column(column: str, row: Mapping[str, object], path: str) -> str:
    """Returns the one column of a table whose name means paths or labels."""
    names = [name for name in row if COLUMN_OF.get(name.lower()) == column]
    if len(names) != 1:
        raise UsageError(
            f"--{column}: must be given, since {path} has the columns {', '.join(row)}; the first line names "
            "the columns"
        )
    return names[0]
