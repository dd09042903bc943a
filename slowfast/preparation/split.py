"""Divide a list into parts with the same mix of classes, keeping videos that belong together in one part."""

from __future__ import annotations

import argparse
import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from slowfast.errors import AnnotationError, DataError
from slowfast.preparation.lists import read_list
from slowfast.preparation.report import Report

EXAMPLES = """\
examples:
  train.csv, val.csv and test.csv with 80, 10 and 10 % of each class
    python tools/prepare_data.py split data/all.csv data --shares train=0.8 val=0.1 test=0.1
  clips that were cut from one video (name_001.mp4, name_002.mp4 …) stay together
    python tools/prepare_data.py split data/all.csv data --shares train=0.9 val=0.1 \\
        --group-by '([^/]*)_[0-9]+[.]mp4$'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("list", metavar="LIST", help="csv of 'path label' lines")
    parser.add_argument("target", help="folder of the parts")
    parser.add_argument(
        "--shares", nargs="+", required=True, metavar="NAME=SHARE", help="such as train=0.8 val=0.2"
    )
    parser.add_argument("--group-by", metavar="REGEX", help="what it captures of a path names the group")
    parser.add_argument(
        "--separator", default=" ", metavar="C", help="between path and label; default: a space"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the division; default: 0")


def run(args: argparse.Namespace) -> Report:
    """Divides as the command line says."""
    shares = _parse_shares(args.shares)
    videos = read_list(args.list, separator=args.separator)
    if not all(entry.label for entry in videos.entries):
        raise AnnotationError(f"{args.list}: is a folder without labels; write a list with make-csv first")
    paths = {name: os.path.join(args.target, f"{name}.csv") for name in shares}
    for name, path in paths.items():
        if os.path.exists(path) and os.path.samefile(path, args.list):
            raise DataError(
                f"{path}: is the list itself, which would lose the other parts; choose another folder, or "
                f"another name than {name!r}"
            )
    groups = [entry.path for entry in videos.entries]
    if args.group_by:
        groups = [_group(args.group_by, entry.path) for entry in videos.entries]
    labels = [entry.label for entry in videos.entries]
    parts = divide(labels, groups, list(shares.values()), seed=args.seed)
    counts: dict[str, dict[str, int]] = {}
    for number, name in enumerate(shares):
        entries = [entry for entry, part in zip(videos.entries, parts, strict=True) if part == number]
        videos.write(paths[name], entries)
        counts[name] = dict(sorted(Counter(entry.label for entry in entries).items()))
    total = len(videos.entries)
    sizes = {name: sum(by_class.values()) for name, by_class in counts.items()}
    return Report(
        lines=[
            f"{args.target}/{name}.csv: {size} videos ({size / total:.1%}) of {len(counts[name])} classes"
            for name, size in sizes.items()
        ],
        values={"source": args.list, "groups": len(set(groups)), "sizes": sizes, "classes": counts},
    )


def divide(labels: Sequence[str], groups: Sequence[str], shares: Sequence[float], *, seed: int) -> list[int]:
    """Assigns each video to a part, so that the parts have their shares of each class.

    Groups are taken in a random order, large ones first; each goes to the part that lacks most of what it
    holds. Videos of equal labels (several labels count as one text) are equal here.

    Args:
        labels, groups: of each video.
        shares: of each part; their sum is 1.

    Returns:
        The number of each video's part.
    """
    classes = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    members: dict[str, list[int]] = defaultdict(list)
    for video, group in enumerate(groups):
        members[group].append(video)
    names = sorted(members)
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    order.sort(key=lambda i: -len(members[names[i]]))  # stable: equal sizes stay in random order
    totals = np.bincount([classes[label] for label in labels], minlength=len(classes))
    lacking = np.outer(shares, totals)  # (parts, classes), videos still wanted
    parts = [0] * len(labels)
    for i in order:
        videos = members[names[i]]
        held = np.bincount([classes[labels[video]] for video in videos], minlength=len(classes))
        # Lacks are compared by class; between equal ones the emptier part is taken.
        need = (lacking / np.maximum(totals, 1)) @ held
        part = int(np.lexsort((-lacking.sum(axis=1), -need))[0])
        lacking[part] -= held
        for video in videos:
            parts[video] = part
    return parts


def _parse_shares(texts: Sequence[str]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for text in texts:
        name, _, share = text.partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            raise DataError(f"--shares {text}: is not NAME=SHARE, such as train=0.8") from None
    if min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6 or not all(shares):
        raise DataError(f"--shares {' '.join(texts)}: shares are above 0 and their sum is 1")
    return shares


def _group(pattern: str, path: str) -> str:
    try:
        match = re.search(pattern, path)
    except re.error as error:
        raise DataError(f"--group-by {pattern}: is no regular expression ({error})") from error
    if match is None:
        raise DataError(f"--group-by {pattern}: does not match {path}")
    return match.group(1) if match.groups() else match.group()
