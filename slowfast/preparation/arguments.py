"""Command-line arguments that several sub-commands share."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast.cli.options import integer_from, output_file, positive_number
from slowfast.distributed.host import usable_cores

if TYPE_CHECKING:  # keeps `--help` fast
    from slowfast.preparation.file_work.work import WorkOptions


_UNITS = {"": 1, "B": 1} | {
    f"{prefix}{unit}": base**power
    for power, prefix in enumerate("KMGT", 1)
    for unit, base in (("", 1000), ("B", 1000), ("IB", 1024))
}


def byte_count(text: str) -> int:
    """Returns the value of an option that is a number of bytes, such as ``500MB`` or ``1.5GiB``.

    >>> byte_count("1GB"), byte_count("1 KiB")
    (1000000000, 1024)
    """
    match = re.fullmatch(r"([0-9.]+)\s*([A-Za-z]*)", text.strip())
    try:
        count = int(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    except (ValueError, KeyError):
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number of bytes above 0, such as 500MB or 1GB")
    return count


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the list of videos and how its lines are read."""
    parser.add_argument("list", metavar="LIST", help="csv of 'path label' lines, or a folder of videos")
    add_line_arguments(parser)


def add_line_arguments(parser: argparse._ActionsContainer) -> None:
    """Adds how the lines of a list are read."""
    parser.add_argument(
        "--prefix", default="", metavar="FOLDER", help="put before each relative path of the list"
    )
    add_separator_argument(parser)


def add_separator_argument(parser: argparse._ActionsContainer) -> None:
    """Adds the separator of the lines of a list."""
    parser.add_argument(
        "--separator", default=" ", metavar="C", help="character between path and label (default: a space)"
    )


def add_seed_argument(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Adds the seed of something random, a number that generators of NumPy accept."""
    parser.add_argument(
        "--seed", type=integer_from(0), default=0, metavar="N", help=f"seed of {meaning} (default: 0)"
    )


def add_work_arguments(parser: argparse.ArgumentParser, *, time_limit: float) -> None:
    """Adds the options of work on many files; ``time_limit`` is the default in seconds per file."""
    cores = usable_cores()
    parser.add_argument(
        "--workers", type=integer_from(0), default=cores, metavar="N", help=f"processes (default: {cores})"
    )
    parser.add_argument(
        "--time-limit",
        type=positive_number,
        default=time_limit,
        metavar="SECONDS",
        help=f"for one video, which is given up after it (default: {time_limit:g})",
    )
    parser.add_argument(
        "--journal",
        type=output_file(),
        metavar="FILE",
        help="file that keeps results, so that a second call continues the first (default: beside the list)",
    )


def work_options(args: argparse.Namespace, command: str) -> WorkOptions:
    """Returns the options that :func:`add_work_arguments` added."""
    from slowfast.preparation.file_work.work import WorkOptions

    source = args.list.rstrip(os.sep)
    journal = args.journal or f"{source}.{command}.jsonl"
    return WorkOptions(max(args.workers, 1), args.time_limit, Path(journal))
