"""Write a list of 'path label' lines from a folder of classes, or from a data set's official annotations."""

from __future__ import annotations

import argparse
import json
import os

from slowfast.datasets.text_files import CLASSES_FILE, find_class_folders, find_videos, read_json
from slowfast.errors import AnnotationError
from slowfast.files import write_text
from slowfast.preparation.report import Report

EXAMPLES = """\
examples:
  a folder for each class; indices follow the sorted names and are written to classes.json
    python tools/prepare_data.py make-csv data/videos --out data/all.csv
  two splits; where classes.json lies beside the list, as after the first call, indices follow it
    python tools/prepare_data.py make-csv data/train --out data/train.csv
    python tools/prepare_data.py make-csv data/val --out data/val.csv
  the second official training list of UCF101
    python tools/prepare_data.py make-csv data/ucf101 --dataset ucf101 --split train --fold 2 \\
        --num-classes 101 --out data/ucf101/train.csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="folder of the data set")
    parser.add_argument("--out", required=True, metavar="CSV", help="the list to write")
    parser.add_argument(
        "--separator", default=" ", metavar="C", help="between path and label; default: a space"
    )
    parser.add_argument(
        "--relative-to", metavar="FOLDER", help="write paths relative to it, for DATA.PATH_PREFIX"
    )
    parser.add_argument("--existing-only", action="store_true", help="leave out videos whose file is missing")
    official = parser.add_argument_group("official annotations")
    official.add_argument("--dataset", metavar="NAME", help="kinetics, moments, ssv2, ucf101, hmdb51 …")
    official.add_argument("--split", default="train", choices=("train", "val", "test"))
    official.add_argument("--fold", type=int, default=1, help="of ucf101 and hmdb51")
    official.add_argument("--num-classes", type=int, metavar="K", help="classes of the data set")
    official.add_argument("--videos", default="", metavar="FOLDER", help="folder of the videos, if another")
    official.add_argument("--multi-label", action="store_true", help="videos have several labels")


def run(args: argparse.Namespace) -> Report:
    """Makes a list as the command line says."""
    header: list[str] = []
    if args.dataset:
        rows, header = _official_rows(args)
    else:
        rows = _folder_rows(args.folder, os.path.join(os.path.dirname(args.out), CLASSES_FILE))
    found = [row for row in rows if not args.existing_only or os.path.exists(row[0])]
    if args.relative_to:
        found = [[os.path.relpath(row[0], args.relative_to), *row[1:]] for row in found]
    lines = [args.separator.join(row) for row in ([header] if header else []) + found]
    write_text(args.out, "".join(f"{line}\n" for line in lines))
    missing = len(rows) - len(found)
    left_out = f"; {missing} without a file left out" if missing else ""
    return Report(
        lines=[f"{args.out}: {len(found)} videos{left_out}"],
        values={"out": args.out, "videos": len(found), "missing": missing},
    )


def _folder_rows(folder: str, classes_file: str) -> list[list[str]]:
    try:
        names = find_class_folders(folder)
    except OSError as error:
        raise AnnotationError(
            f"{folder}: cannot be read ({error.strerror}); name a folder of classes"
        ) from error
    is_numbered = os.path.exists(classes_file)
    indices = _read_classes(classes_file) if is_numbered else {name: i for i, name in enumerate(names)}
    if unknown := [name for name in names if name not in indices]:
        raise AnnotationError(
            f"{folder}: class {unknown[0]!r} is not in {classes_file}; write --out into another folder, or "
            f"delete {CLASSES_FILE} to number the classes anew (the lists beside it then need that, too)"
        )
    rows = [
        [os.path.join(folder, name, video), str(indices[name])]
        for name in names
        for video in find_videos(os.path.join(folder, name))
    ]
    if not rows:
        raise AnnotationError(f"{folder}: has no folder of a class with videos in it")
    if not is_numbered:
        write_text(classes_file, json.dumps(indices, indent=1) + "\n")
    return rows


def _read_classes(path: str) -> dict[str, int]:
    """The numbers that the lists of other splits have already."""
    indices = read_json(path, dict)
    for name, index in indices.items():
        if type(index) is not int or index < 0:
            raise AnnotationError(
                f"{path}: {name!r} = {index!r} is no class index; write a number from 0 for each name"
            )
    return indices


def _official_rows(args: argparse.Namespace) -> tuple[list[list[str]], list[str]]:
    """The rows (path, label and, where there are parts of files, start and end), and their header."""
    from slowfast.datasets.readers import READERS, AnnotationSource

    if args.dataset not in READERS:
        raise AnnotationError(f"--dataset {args.dataset}: is not known; use {', '.join(sorted(READERS))}")
    if not args.num_classes:
        raise AnnotationError(f"--num-classes: is not set; say how many classes {args.dataset} has")
    source = AnnotationSource(
        folder=args.folder,
        split=args.split,
        num_classes=args.num_classes,
        prefix=args.videos,
        multi_label=args.multi_label,
        fold=args.fold,
    )
    annotations = READERS[args.dataset](source)
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
