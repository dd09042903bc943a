"""List of 'path label' lines, made from a folder of classes, a table, or official annotations.

examples:
  one folder per class; the indices follow the sorted names and are written to classes.json
    slowfast prepare make-csv data/videos --output data/all.csv
  two splits; the second call uses the indices in the classes.json of the first
    slowfast prepare make-csv data/train --output data/train.csv
    slowfast prepare make-csv data/val --output data/val.csv
  the second official training list of UCF101
    slowfast prepare make-csv data/ucf101 --dataset ucf101 --split train --fold 2 \\
        --num-classes 101 --output data/ucf101/train.csv
  a table with class names, whose columns are id, action and others
    slowfast prepare make-csv annotations.csv --path 'clips/{id}.mp4' --label action --output data/all.csv
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from slowfast.cli.options import output_file, positive_integer
from slowfast.datasets.text_files import CLASSES_FILE, parse_index, read_json
from slowfast.datasets.video_folder import describe_others, find_class_folders, scan_classes
from slowfast.datasets.video_list import END, GROUP, LABEL, PATH, START, format_row
from slowfast.errors import AnnotationError, UsageError, counted
from slowfast.files import write_text
from slowfast.preparation.arguments import add_separator_argument
from slowfast.preparation.report import CommandReport
from slowfast.preparation.table import add_table_arguments, read_labels

if TYPE_CHECKING:  # keeps `--help` fast
    from slowfast.datasets.annotations import Annotations

_NUMBER = re.compile(r"-?\d+(\.\d*)?")
# The options in place of the configuration's keys that errors of the readers name.
_OPTIONS = {
    "DATA.PATH_TO_DATA_DIR": "the folder",
    "DATA.PATH_PREFIX": "--videos",
    "DATA.FOLD": "--fold",
    "DATA.MULTI_LABEL True": "--multi-label",
    "DATA.PATH_LABEL_SEPARATOR": "--separator",
    "MODEL.NUM_CLASSES": "--num-classes",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="SOURCE", help="folder of the data set, or a table")
    parser.add_argument(
        "--output", type=output_file(), required=True, metavar="FILE", help="the list to write"
    )
    add_separator_argument(parser)
    parser.add_argument(
        "--relative-to", metavar="FOLDER", help="write paths relative to this folder, for DATA.PATH_PREFIX"
    )
    parser.add_argument("--existing-only", action="store_true", help="leave out videos whose file is missing")
    add_table_arguments(parser)
    official = parser.add_argument_group("official annotations")
    official.add_argument("--dataset", metavar="NAME", help="kinetics, moments, ssv2, ucf101, hmdb51 …")
    official.add_argument(
        "--split", default="train", choices=("train", "val", "test"), help="the list to read (default: train)"
    )
    official.add_argument(
        "--fold",
        type=positive_integer,
        default=1,
        metavar="K",
        help="official split of ucf101 and hmdb51 (default: 1)",
    )
    official.add_argument(
        "--num-classes", type=positive_integer, metavar="N", help="number of classes of the data set"
    )
    official.add_argument(
        "--videos",
        default="",
        metavar="FOLDER",
        help="folder of the videos, if they are not in the folder of the annotations",
    )
    official.add_argument(
        "--multi-label", action="store_true", help="videos have several labels; also of a table"
    )


class _Rows(NamedTuple):
    """The rows of a new list.

    Attributes:
        rows: cells of each video.
        others: files that are not videos of a class.
        indices: of the classes by their names; empty where labels are indices already.
        columns: of the cells.
    """

    rows: list[list[str]]
    others: Sequence[str]
    indices: dict[str, int]
    columns: Sequence[str] = (PATH, LABEL)


def run(args: argparse.Namespace) -> CommandReport:
    """Writes the list and returns its report."""
    separator = {"\\t": "\t"}.get(args.separator, args.separator)
    if len(separator.encode()) != 1:
        raise UsageError(f"--separator {separator!r}: must be one ASCII character")
    classes_file = os.path.join(os.path.dirname(args.output), CLASSES_FILE)
    if args.dataset:
        made = _official_rows(args, separator)
        _refuse_other_classes(classes_file, made.indices)
    elif os.path.isfile(args.folder):
        made = _table_rows(args, classes_file)
    else:
        made = _folder_rows(args.folder, classes_file)
    rows, others, indices, columns = made
    found = [row for row in rows if not args.existing_only or os.path.exists(row[0])]
    if not found:
        raise AnnotationError(
            f"--existing-only: none of the {len(rows)} videos exists, such as {rows[0][0]}; name the folder "
            "of the videos by --videos"
        )
    if args.relative_to:
        found = [[os.path.relpath(row[0], args.relative_to), *row[1:]] for row in found]
    header = columns if len(columns) > 2 else ()
    lines = [separator.join(header)] if header else []
    lines += [format_row(row, separator, header) for row in found]
    write_text(args.output, "".join(f"{line}\n" for line in lines))
    # Last, since the names of a list that was refused would decide the indices of the next one.
    remarks = [_write_classes(classes_file, indices)] if indices else []
    missing = len(rows) - len(found)
    if others:
        remarks.append(f"left out, because they are not videos of a class: {describe_others(others)}")
    left_out = f"; {missing} without a file were left out" if missing else ""
    return CommandReport(
        lines=[f"{args.output}: {counted(len(found), 'video')}{left_out}", *remarks],
        values={"output": args.output, "videos": len(found), "missing": missing, "others": others},
    )


def _write_classes(path: str, indices: dict[str, int]) -> str:
    """Writes the indices of the classes unless the file exists, and returns a line about it."""
    is_new = not os.path.exists(path)
    if is_new:
        write_text(path, json.dumps(indices, indent=1) + "\n")
    classes = counted(len(indices), "class", "classes")
    return f"{path}: {classes}{'' if is_new else ', with the indices of an earlier list'}"


def _folder_rows(folder: str, classes_file: str) -> _Rows:
    """Returns the rows of a folder of classes."""
    names = find_class_folders(folder)
    indices = _number_classes(names, folder, classes_file)
    videos, others = scan_classes(folder, names)
    rows = [[os.path.join(folder, path), str(indices[name])] for name, path in videos]
    if not rows:
        raise AnnotationError(f"{folder}: contains no class folder with videos in it")
    return _Rows(rows, others, indices)


def _table_rows(args: argparse.Namespace, classes_file: str) -> _Rows:
    """Returns the rows of a table; videos without a label are the others."""
    labels = read_labels(args)
    names = sorted({name for found in labels.values() for name in found})
    others = [name for name in names if parse_index(name) is None]
    if others and all(map(_NUMBER.fullmatch, names)):
        raise AnnotationError(
            f"{args.folder}: {others[0]!r} is not a valid class index; write whole numbers from 0 on, or "
            "names"
        )
    indices = _number_classes(names, args.folder, classes_file) if others else {}
    rows = [
        [path, _join((indices.get(name, name) for name in found), args.separator)]
        for path, found in labels.items()
        if found
    ]
    return _Rows(rows, [path for path, found in labels.items() if not found], indices)


def _join(labels: Iterable[object], separator: str) -> str:
    """Returns the labels of a video as one column of a list with this separator."""
    return (";" if separator == "," else ",").join(map(str, labels))


def _number_classes(names: list[str], source: str, classes_file: str) -> dict[str, int]:
    """Returns the indices of classes: those of an earlier list, or the order of the names.

    Raises:
        AnnotationError: for a class that the earlier list has not.
    """
    if not os.path.exists(classes_file):
        return {name: i for i, name in enumerate(names)}
    indices = _read_classes(classes_file)
    if unknown := [name for name in names if name not in indices]:
        raise AnnotationError(
            f"{source}: class {unknown[0]!r} is not in {classes_file}; write --output into another folder, "
            f"or delete {CLASSES_FILE} to assign new indices (then write the lists beside it again, too)"
        )
    return indices


def _read_classes(path: str) -> dict[str, int]:
    """Returns the class indices that the lists of other splits use already."""
    indices = read_json(path, dict)
    for name, index in indices.items():
        if type(index) is not int or index < 0:
            raise AnnotationError(
                f"{path}: {name!r} = {index!r} is not a valid class index; use whole numbers from 0 on"
            )
    return indices


def _refuse_other_classes(path: str, indices: dict[str, int]) -> None:
    """Raises ``AnnotationError`` where the file of an earlier list gives the classes other indices."""
    if indices and os.path.exists(path) and _read_classes(path) != indices:
        raise AnnotationError(
            f"{path}: gives the classes other names or indices than the data set; write --output into "
            "another folder, or delete the file, which belongs to an earlier list"
        )


def _official_rows(args: argparse.Namespace, separator: str) -> _Rows:
    """Returns the rows of official annotations, with the columns that these have."""
    annotations = _read_official(args, separator)
    if annotations.shards is not None:
        raise UsageError(
            "--dataset shards: must be a data set of files, since a list cannot name videos in archives; "
            "train with TRAIN.DATASET shards instead"
        )
    groups = list(annotations.groups or ())
    rows = []
    for i, path in enumerate(annotations.paths):
        if annotations.label_starts is None:
            labels = [int(annotations.label_values[i])]
        else:
            first, last = annotations.label_starts[i : i + 2].tolist()
            labels = annotations.label_values[first:last].tolist()
        segment = annotations.segment(i) or ()
        rows.append([path, _join(labels, separator), *map(repr, segment), *groups[i : i + 1]])
    segments = [START, END] if annotations.segments is not None else []
    indices = {name: index for index, name in enumerate(annotations.class_names)}
    return _Rows(rows, (), indices, [PATH, LABEL, *segments, *([GROUP] if groups else [])])


def _read_official(args: argparse.Namespace, separator: str) -> Annotations:
    """Reads the official annotations; a list may have the separator of the result, or a space."""
    from slowfast.datasets.readers import READERS, AnnotationSource

    if args.dataset not in READERS:
        raise UsageError(f"--dataset {args.dataset}: must be one of {', '.join(sorted(READERS))}")
    if not args.num_classes:
        raise UsageError(f"--num-classes: must be given; it is the number of classes of {args.dataset}")
    source = AnnotationSource(
        folder=args.folder,
        split=args.split,
        num_classes=args.num_classes,
        prefix=args.videos,
        separator=separator,
        multi_label=args.multi_label,
        fold=args.fold,
    )
    try:
        return READERS[args.dataset](source)
    except AnnotationError as error:
        with suppress(AnnotationError):
            return READERS[args.dataset](replace(source, separator=" "))
        message = str(error)
        for key, option in _OPTIONS.items():
            message = message.replace(key, option)
        raise AnnotationError(message) from error
