"""Kinetics 400, 600 and 700, and every data set listed in the same way."""

from __future__ import annotations

import os
from collections.abc import Iterator

from slowfast.datasets.annotations import Annotations
from slowfast.datasets.readers.path_label import read_csv
from slowfast.datasets.readers.source import AnnotationSource, ClassIndex, Rows
from slowfast.datasets.text_files import BLANK, read_lines, read_table
from slowfast.errors import AnnotationError

_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
# Some download tools write underscores for spaces in the folders of classes.
_LAYOUTS = (
    "{name}",
    "{split}/{name}",
    "{label}/{name}",
    "{split}/{label}/{name}",
    "{folder}/{name}",
    "{split}/{folder}/{name}",
)


def read_path_label(source: AnnotationSource) -> Annotations:
    """Reads ``train.csv``, ``val.csv`` or ``test.csv`` of a folder, or one file; see :func:`read_csv`."""
    return read_csv(
        _list_of(source, source.split),
        num_classes=source.num_classes,
        separator=source.separator,
        prefix=source.prefix,
        multi_label=source.multi_label,
    )


def read_kinetics(source: AnnotationSource) -> Annotations:
    """Reads lists of ``path label``, or official lists; their first lines differ.

    Official lists have the columns label, youtube_id, time_start, time_end, split. The video of a line is
    ``{youtube_id}_{start:06d}_{end:06d}.mp4``, directly in the root, in a folder of the split, of the class,
    or of both. Class indices are those of ``classes.json``, else of the sorted names of all splits.
    """
    path = _list_of(source, source.split)
    if "youtube_id" not in _header(path):
        return read_path_label(source)
    listed = list(_official_rows(path))
    classes = ClassIndex.from_names(_class_names(source), source, path)
    rows = Rows(source, classes)
    for line, label, name in listed:
        rows.add(name, classes.index(label, f"{path}, line {line}"))

    def fields(row: int) -> dict[str, str]:
        label = listed[row][1]
        return {"split": source.split, "label": label, "folder": label.replace(" ", "_")}

    rows.apply_layout(_LAYOUTS, fields)
    return rows.annotations(path)


def _list_of(source: AnnotationSource, split: str) -> str:
    """Returns the list of a split; where the data set's folder is a file, that file."""
    return source.folder if os.path.isfile(source.folder) else os.path.join(source.folder, f"{split}.csv")


def _header(path: str) -> set[str]:
    """Returns the names of the columns in the first line, which may be quoted and padded."""
    _, first = next(read_lines(path), (0, ""))
    return {cell.strip(f'{BLANK}"') for cell in first.split(",")}


def _official_rows(path: str) -> Iterator[tuple[int, str, str]]:
    """Yields line number, class name and file name of the videos of an official list."""
    table = read_table(path)
    _, header = next(table)
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise AnnotationError(f"{path}, line 1: lacks the column {missing[0]!r}; use the list that has it")
    label, video, start, end = (header.index(name) for name in _COLUMNS)
    for line, cells in table:
        try:
            name = f"{cells[video]}_{int(float(cells[start])):06d}_{int(float(cells[end])):06d}.mp4"
            yield line, cells[label], name
        except (IndexError, ValueError, OverflowError) as error:
            raise AnnotationError(
                f"{path}, line {line}: {','.join(cells)!r} does not fit the header"
            ) from error


def _class_names(source: AnnotationSource) -> set[str]:
    """Returns the class names in all lists of the data set; that of the test set may lack labels."""
    names: set[str] = set()
    for path in {_list_of(source, split) for split in ("train", "val", "test")}:
        if os.path.isfile(path) and {"label", "youtube_id"} <= _header(path):
            names.update(label for _, label, _ in _official_rows(path))
    return names
