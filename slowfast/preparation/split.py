"""Division of a list into parts with equal class distributions, without dividing groups of videos."""

from __future__ import annotations

import argparse
import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from slowfast.errors import AnnotationError, DataError
from slowfast.preparation.lists import read_video_list
from slowfast.preparation.report import CommandReport

EXAMPLES = """\
examples:
  train.csv, val.csv and test.csv with 80, 10 and 10 % of each class
    slowfast prepare split data/all.csv data --shares train=0.8 val=0.1 test=0.1
  clips of one source video (name_001.mp4, name_002.mp4 …) stay in one part
    slowfast prepare split data/all.csv data --shares train=0.9 val=0.1 \\
        --group-by '([^/]*)_[0-9]+[.]mp4$'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("list", metavar="LIST", help="csv of 'path label' lines")
    parser.add_argument("target", help="folder that receives the lists")
    parser.add_argument(
        "--shares",
        nargs="+",
        required=True,
        metavar="NAME=FRACTION",
        help="fractions of the parts, such as train=0.8 val=0.2",
    )
    parser.add_argument(
        "--group-by",
        metavar="REGEX",
        help="regular expression that captures the name of the group from a path",
    )
    parser.add_argument(
        "--separator", default=" ", metavar="C", help="character between path and label; default: a space"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random division; default: 0")


def run(args: argparse.Namespace) -> CommandReport:
    """Writes the parts and returns their report."""
    fractions = _parse_fractions(args.shares)
    videos = read_video_list(args.list, separator=args.separator)
    if not all(entry.label for entry in videos.entries):
        raise AnnotationError(f"{args.list}: is a folder without labels; write a list with make-csv first")
    paths = {name: os.path.join(args.target, f"{name}.csv") for name in fractions}
    for name, path in paths.items():
        if os.path.exists(path) and os.path.samefile(path, args.list):
            raise DataError(
                f"{path}: is the list itself and would be overwritten; choose another folder, or another "
                f"name than {name!r}"
            )
    groups = [entry.path for entry in videos.entries]
    if args.group_by:
        groups = [_group_of(args.group_by, entry.path) for entry in videos.entries]
    labels = [entry.label for entry in videos.entries]
    parts = divide(labels, groups, list(fractions.values()), seed=args.seed)
    counts: dict[str, dict[str, int]] = {}
    for number, name in enumerate(fractions):
        entries = [entry for entry, part in zip(videos.entries, parts, strict=True) if part == number]
        videos.write(paths[name], entries)
        counts[name] = dict(sorted(Counter(entry.label for entry in entries).items()))
    total = len(videos.entries)
    sizes = {name: sum(by_class.values()) for name, by_class in counts.items()}
    return CommandReport(
        lines=[
            f"{args.target}/{name}.csv: {size} videos ({size / total:.1%}) in {len(counts[name])} classes"
            for name, size in sizes.items()
        ],
        values={"source": args.list, "groups": len(set(groups)), "sizes": sizes, "classes": counts},
    )


def divide(
    labels: Sequence[str], groups: Sequence[str], fractions: Sequence[float], *, seed: int
) -> list[int]:
    """Assigns each video to a part so that each part gets its fraction of each class.

    Groups are assigned in a random order, large ones first, each to the part that lacks most of its classes.
    The label of a video is compared as text, several labels as one text.

    Args:
        labels, groups: one per video.
        fractions: one per part; their sum is 1.

    Returns:
        The number of the part of each video.
    """
    import numpy as np  # here, so that `--help` stays fast

    classes = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    members: dict[str, list[int]] = defaultdict(list)
    for video, group in enumerate(groups):
        members[group].append(video)
    names = sorted(members)
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    order.sort(key=lambda i: -len(members[names[i]]))  # stable: equal sizes stay in random order
    totals = np.bincount([classes[label] for label in labels], minlength=len(classes))
    lacking = np.outer(fractions, totals)  # (parts, classes), videos still wanted
    parts = [0] * len(labels)
    for i in order:
        videos = members[names[i]]
        held = np.bincount([classes[labels[video]] for video in videos], minlength=len(classes))
        # Fractions that a class still lacks are compared; of equal parts the emptier one is chosen.
        need = (lacking / np.maximum(totals, 1)) @ held
        part = int(np.lexsort((-lacking.sum(axis=1), -need))[0])
        lacking[part] -= held
        for video in videos:
            parts[video] = part
    return parts


def _parse_fractions(texts: Sequence[str]) -> dict[str, float]:
    fractions: dict[str, float] = {}
    for text in texts:
        name, _, fraction = text.partition("=")
        try:
            fractions[name] = float(fraction)
        except ValueError:
            raise DataError(f"--shares {text}: must be NAME=FRACTION, such as train=0.8") from None
    if min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-6 or not all(fractions):
        raise DataError(f"--shares {' '.join(texts)}: fractions must be above 0 and their sum 1")
    return fractions


def _group_of(pattern: str, path: str) -> str:
    try:
        match = re.search(pattern, path)
    except re.error as error:
        raise DataError(f"--group-by {pattern}: is not a valid regular expression ({error})") from error
    if match is None:
        raise DataError(f"--group-by {pattern}: does not match {path}")
    return match.group(1) if match.groups() else match.group()
