"""Division of a list into parts or folds with equal class distributions, without dividing groups of videos.

Groups come from a regular expression on the paths, or from the list's column `group`, which is used unless
--group-by names something else.

examples:
  train.csv, val.csv and test.csv with 80, 10 and 10 % of each class
    slowfast prepare split data/all.csv data --shares train=0.8 val=0.1 test=0.1
  clips of one source video (name_001.mp4, name_002.mp4 …) stay in one part
    slowfast prepare split data/all.csv data --shares train=0.9 val=0.1 \\
        --group-by '([^/]*)_[0-9]+[.]mp4$'
  five folds, data/folds/fold_0 to fold_4, each with train.csv, val.csv and test.csv
    slowfast prepare split data/all.csv data/folds --folds 5 --group-by '([^/]*)_[0-9]+[.]mp4$'
  each person of the list's column `person` is tested by a model that has not seen the person
    slowfast prepare split data/all.csv data/folds --leave-one-group-out
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set

from slowfast.datasets.groups import groups_by_pattern
from slowfast.datasets.video_list import ListRow
from slowfast.errors import DataError, UsageError, counted
from slowfast.preparation.arguments import add_seed_argument, add_separator_argument
from slowfast.preparation.folds import VAL_FRACTION, describe_fold, divide, make_folds
from slowfast.preparation.lists import VideoList, read_video_list
from slowfast.preparation.report import CommandReport

COLUMN = "column"
# Lists that a run reads from a folder: those of two divisions would share videos.
_READ_LISTS = ("train", "val", "test")
# Classes that a warning names.
_MAX_NAMED = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("list", metavar="LIST", help="csv of 'path label' lines")
    parser.add_argument("target", metavar="TARGET", help="folder that receives the lists")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument(
        "--shares",
        nargs="+",
        metavar="NAME=FRACTION",
        help="fractions of the parts, such as train=0.8 val=0.2",
    )
    kind.add_argument("--folds", type=int, metavar="K", help="number of folds, 2 or more")
    kind.add_argument("--leave-one-group-out", action="store_true", help="one fold for each group")
    parser.add_argument(
        "--val-fraction",
        type=float,
        metavar="X",
        help=f"fraction of a fold's other videos that validate (default: {VAL_FRACTION}, at least one group)",
    )
    parser.add_argument(
        "--group-by",
        default=COLUMN,
        metavar="REGEX",
        help="regular expression that captures the group of a video from its path (default: the list's "
        "column of groups, where it has one)",
    )
    add_separator_argument(parser)
    add_seed_argument(parser, "the random division")


def run(args: argparse.Namespace) -> CommandReport:
    """Writes the parts or folds and returns their report."""
    videos = read_video_list(args.list, separator=args.separator)
    videos.require_labels()
    groups = _groups_of(videos, args.group_by)
    return _split_into_parts(args, videos, groups) if args.shares else _split_into_folds(args, videos, groups)


def _groups_of(videos: VideoList, group_by: str) -> list[str]:
    """Returns the group of each video; by default that of the list's column, else each video is a group."""
    if group_by != COLUMN:
        return groups_by_pattern([entry.path for entry in videos.entries], group_by)
    return [entry.group or os.path.normpath(entry.path) for entry in videos.entries]


def _split_into_parts(args: argparse.Namespace, videos: VideoList, groups: Sequence[str]) -> CommandReport:
    fractions = _parse_fractions(args.shares)
    paths = {name: os.path.join(args.target, f"{name}.csv") for name in fractions}
    for name, path in paths.items():
        videos.require_other(path, f"choose another folder, or another name than {name!r}")
    _refuse_stale_lists(args, videos, paths.values())
    labels = [entry.label for entry in videos.entries]
    parts = divide(labels, groups, list(fractions.values()), seed=args.seed)
    for number, (name, fraction) in enumerate(fractions.items()):
        if number not in parts:
            raise DataError(
                f"--shares {name}={fraction:g}: gets none of the {counted(len(parts), 'video')} in "
                f"{counted(len(set(groups)), 'group')}; use a larger fraction, or a finer grouping"
            )
    names = list(fractions)
    lists: dict[str, list[ListRow]] = {name: [] for name in names}
    for entry, part in zip(videos.entries, parts, strict=True):
        lists[names[part]].append(entry)
    replaced = {name for name, path in paths.items() if os.path.exists(path)}
    videos.write_all({paths[name]: entries for name, entries in lists.items()})
    counts = {
        name: dict(sorted(Counter(label for entry in entries for label in entry.classes).items()))
        for name, entries in lists.items()
    }
    total = len(videos.entries)
    sizes = {name: len(entries) for name, entries in lists.items()}
    classes = {label for entry in videos.entries for label in entry.classes}
    return CommandReport(
        lines=[
            f"{paths[name]}: {counted(size, 'video')} ({size / total:.1%}) in "
            f"{counted(len(counts[name]), 'class', 'classes')}{_describe_missing(counts[name], classes)}"
            + ("; an earlier list was replaced" if name in replaced else "")
            for name, size in sizes.items()
        ]
        + videos.copy_class_names(paths.values()),
        values={"source": args.list, "groups": len(set(groups)), "sizes": sizes, "classes": counts},
    )


def _refuse_stale_lists(args: argparse.Namespace, videos: VideoList, written: Iterable[str]) -> None:
    """Raises ``DataError`` for a list beside the new ones that a run would read and that shares videos."""
    lines = {entry.text for entry in videos.entries}
    for path in (os.path.join(args.target, f"{name}.csv") for name in _READ_LISTS):
        if path in written or not os.path.exists(path) or os.path.samefile(path, args.list):
            continue
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            shared = sum(line.strip() in lines for line in file)
        if shared:
            raise DataError(
                f"{path}: has {shared} videos of {args.list}, probably of an earlier division; delete it, or "
                "choose another folder"
            )


def _describe_missing(held: Mapping[str, int], classes: Set[str]) -> str:
    """Returns a warning about the classes that a list lacks; empty where it has all."""
    if not (missing := sorted(classes - held.keys())):
        return ""
    shown = ", ".join(missing[:_MAX_NAMED]) + (", …" if len(missing) > _MAX_NAMED else "")
    return f"; warning: lacks {counted(len(missing), 'class', 'classes')} ({shown})"


def _split_into_folds(args: argparse.Namespace, videos: VideoList, groups: Sequence[str]) -> CommandReport:
    if args.folds is not None and args.folds < 2:
        raise UsageError(f"--folds {args.folds}: must be 2 or more")
    if args.val_fraction is not None and not 0 < args.val_fraction < 1:
        raise UsageError(f"--val-fraction {args.val_fraction}: must be above 0 and less than 1, such as 0.15")
    labels = [entry.label for entry in videos.entries]
    folds = make_folds(labels, groups, args.folds or 0, val_fraction=args.val_fraction, seed=args.seed)
    if os.path.exists(stale := os.path.join(args.target, f"fold_{len(folds)}")):
        raise DataError(f"{stale}: is of a division into more folds; delete it, or choose another folder")
    lines = [
        f"{counted(len(videos.entries), 'video')} of {counted(len(set(groups)), 'group')} "
        f"in {len(folds)} folds"
    ]
    if os.path.exists(os.path.join(args.target, "fold_0")):
        lines.append(f"{args.target}: the lists of an earlier division were replaced")
    lists = {
        os.path.join(args.target, f"fold_{number}", f"{name}.csv"): [videos.entries[i] for i in chosen]
        for number, fold in enumerate(folds)
        for name, chosen in fold.parts.items()
    }
    videos.write_all(lists)
    lines += [
        describe_fold(number, fold, [entry.classes for entry in videos.entries])
        for number, fold in enumerate(folds)
    ]
    lines += videos.copy_class_names(lists)
    return CommandReport(
        lines=lines,
        values={
            "source": args.list,
            "groups": len(set(groups)),
            "folds": [{name: len(chosen) for name, chosen in fold.parts.items()} for fold in folds],
            "test_groups": [sorted({groups[video] for video in fold.test}) for fold in folds],
        },
    )


def _parse_fractions(texts: Sequence[str]) -> dict[str, float]:
    fractions: dict[str, float] = {}
    for text in texts:
        name, _, fraction = text.partition("=")
        try:
            fractions[name] = float(fraction)
        except ValueError:
            raise UsageError(f"--shares {text}: must be NAME=FRACTION, such as train=0.8") from None
    are_positive = all(fraction > 0 for fraction in fractions.values())  # NaN is not, either
    if not (are_positive and abs(sum(fractions.values()) - 1) <= 1e-6 and all(fractions)):
        raise UsageError(f"--shares {' '.join(texts)}: fractions must be above 0 and their sum 1")
    return fractions
