"""List of 'path label' lines, made from a folder of classes or from official annotations."""

from __future__ import annotations

import argparse
import json
import os

from slowfast.datasets.text_files import CLASSES_FILE, read_json
from slowfast.datasets.video_folder import (
    describe_others,
    find_class_folders,
    find_loose_files,
    scan_class_folder,
)
from slowfast.datasets.video_list import format_row
from slowfast.errors import AnnotationError, UsageError, counted
from slowfast.files import output_file, write_text
from slowfast.preparation.report import CommandReport

EXAMPLES = """\
examples:
  one folder per class; the indices follow the sorted names and are written to classes.json
    slowfast prepare make-csv data/videos --out data/all.csv
  two splits; the second call uses the indices in the classes.json of the first
    slowfast prepare make-csv data/train --out data/train.csv
    slowfast prepare make-csv data/val --out data/val.csv
  the second official training list of UCF101
    slowfast prepare make-csv data/ucf101 --dataset ucf101 --split train --fold 2 \\
        --num-classes 101 --out data/ucf101/train.csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="folder of the data set")
    parser.add_argument("--out", type=output_file(), required=True, metavar="CSV", help="the list to write")
    parser.add_argument(
        "--separator", default=" ", metavar="C", help="character between path and label; default: a space"
    )
    parser.add_argument(
        "--relative-to", metavar="FOLDER", help="write paths relative to this folder, for DATA.PATH_PREFIX"
    )
    parser.add_argument("--existing-only", action="store_true", help="leave out videos whose file is missing")
    official = parser.add_argument_group("official annotations")
    official.add_argument("--dataset", metavar="NAME", help="kinetics, moments, ssv2, ucf101, hmdb51 …")
    official.add_argument("--split", default="train", choices=("train", "val", "test"))
    official.add_argument("--fold", type=int, default=1, help="official split number of ucf101 and hmdb51")
    official.add_argument("--num-classes", type=int, metavar="K", help="number of classes of the data set")
    official.add_argument(
        "--videos",
        default="",
        metavar="FOLDER",
        help="folder of the videos, if they are not in the folder of the annotations",
    )
    official.add_argument("--multi-label", action="store_true", help="videos have several labels")


def run(args: argparse.Namespace) -> CommandReport:
    """Writes the list and returns its report."""
    header: list[str] = []
    remarks: list[str] = []
    if args.dataset:
        rows, header = _official_rows(args)
        others: list[str] = []
    else:
        classes_file = os.path.join(os.path.dirname(args.out), CLASSES_FILE)
        indices, is_new = _class_indices(args.folder, classes_file)
        rows, others = _folder_rows(args.folder, indices)
        if is_new:
            write_text(classes_file, json.dumps(indices, indent=1) + "\n")
        classes = counted(len(indices), "class", "classes")
        remarks.append(
            f"{classes_file}: {classes}{'' if is_new else ', with the indices of an earlier list'}"
        )
    found = [row for row in rows if not args.existing_only or os.path.exists(row[0])]
    if args.relative_to:
        found = [[os.path.relpath(row[0], args.relative_to), *row[1:]] for row in found]
    separator = {"\\t": "\t"}.get(args.separator, args.separator)
    if len(separator.encode()) != 1:
        raise UsageError(f"--separator {separator!r}: must be one ASCII character")
    lines = [separator.join(header)] if header else []
    lines += [format_row(row, separator) for row in found]
    write_text(args.out, "".join(f"{line}\n" for line in lines))
    missing = len(rows) - len(found)
    if others:
        remarks.append(f"left out, because they are not videos of a class: {describe_others(others)}")
    left_out = f"; {missing} without a file were left out" if missing else ""
    return CommandReport(
        lines=[f"{args.out}: {counted(len(found), 'video')}{left_out}", *remarks],
        values={"out": args.out, "videos": len(found), "missing": missing, "others": others},
    )


def _class_indices(folder: str, classes_file: str) -> tuple[dict[str, int], bool]:
    """Returns the index of each class of a folder, and whether the indices are new.

    The indices are those of the file, or follow the sorted names of the folders where it does not exist.
    """
    try:
        names = find_class_folders(folder)
    except OSError as error:
        raise AnnotationError(
            f"{folder}: cannot be read ({error.strerror}); name a folder of classes"
        ) from error
    if not os.path.exists(classes_file):
        return {name: i for i, name in enumerate(names)}, True
    indices = _read_classes(classes_file)
    if unknown := [name for name in names if name not in indices]:
        raise AnnotationError(
            f"{folder}: class {unknown[0]!r} is not in {classes_file}; write --out into another folder, or "
            f"delete {CLASSES_FILE} to assign new indices (then write the lists beside it again, too)"
        )
    return indices, False


def _folder_rows(folder: str, indices: dict[str, int]) -> tuple[list[list[str]], list[str]]:
    """Returns the rows of a folder of classes, and the files that are not videos of a class."""
    rows: list[list[str]] = []
    others = find_loose_files(folder)
    for name in find_class_folders(folder):
        contents = scan_class_folder(os.path.join(folder, name))
        rows += [[os.path.join(folder, name, video), str(indices[name])] for video in contents.videos]
        others += [os.path.join(name, other) for other in contents.others]
    if not rows:
        raise AnnotationError(f"{folder}: contains no class folder with videos in it")
    return rows, others


def _read_classes(path: str) -> dict[str, int]:
    """Returns the class indices that the lists of other splits use already."""
    indices = read_json(path, dict)
    for name, index in indices.items():
        if type(index) is not int or index < 0:
            raise AnnotationError(
                f"{path}: {name!r} = {index!r} is not a valid class index; use whole numbers from 0 on"
            )
    return indices


def _official_rows(args: argparse.Namespace) -> tuple[list[list[str]], list[str]]:
    """Returns the rows (path, label and, for segments of files, start and end), and their header."""
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
        multi_label=args.multi_label,
        fold=args.fold,
    )
    annotations = READERS[args.dataset](source)
    if annotations.shards is not None:
        raise UsageError(
            "--dataset shards: must be a data set of files, since a list cannot name videos in archives; "
            "train with TRAIN.DATASET shards instead"
        )
    joint = ";" if args.separator == "," else ","
    rows = []
    for i, path in enumerate(annotations.paths):
        if annotations.label_starts is None:
            labels = [int(annotations.label_values[i])]
        else:
            first, last = annotations.label_starts[i : i + 2].tolist()
            labels = annotations.label_values[first:last].tolist()
        segment = annotations.segment(i) or ()
        rows.append([path, joint.join(map(str, labels)), *map(repr, segment)])
    return rows, ["path", "label", "start", "end"] if annotations.segments is not None else []
