"""Statistics of a data set: durations, frame rates, sizes, codecs, classes; with plots.

examples:
  statistics on the terminal
    slowfast prepare stats data/train.csv
  the same with histograms, and the values for other programs
    slowfast prepare stats data/train.csv --plot data/train.png --json data/train_stats.json
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slowfast.cli.options import output_file
from slowfast.errors import counted
from slowfast.files import FIGURE_SUFFIXES, atomic_write
from slowfast.preparation.arguments import add_list_arguments, add_work_arguments, work_options
from slowfast.preparation.lists import read_video_list
from slowfast.preparation.report import CommandReport, count_problems, list_variable_rates

if TYPE_CHECKING:  # keeps `--help` fast
    from matplotlib.figure import Figure

    from slowfast.preparation.file_work.video_facts import VideoFacts

# Units with their sizes in seconds and bytes, large ones first.
_TIMES = (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
_BYTES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("bytes", 1.0))
_MEASURES = {
    "seconds": "duration, s",
    "frames": "frames",
    "fps": "frame rate, 1/s",
    "width": "width, pixels",
    "height": "height, pixels",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_list_arguments(parser)
    parser.add_argument(
        "--plot",
        type=output_file(*FIGURE_SUFFIXES),
        metavar="FILE",
        help=f"write histograms as {', '.join(FIGURE_SUFFIXES)}",
    )
    add_work_arguments(parser, time_limit=60.0)


def run(args: argparse.Namespace) -> CommandReport:
    """Computes the statistics and returns their report."""
    from slowfast.preparation.file_work.work import survey  # here, so that `--help` stays fast

    videos = read_video_list(args.list, separator=args.separator, prefix=args.prefix)
    facts = survey(
        videos.paths, work_options(args, "stats"), decode=False, with_hash=False, description="stats"
    )
    report = summarize_videos(facts, [name for entry in videos.entries for name in entry.classes])
    if args.plot:
        with atomic_write(args.plot) as temporary:
            _draw([fact for fact in facts if fact.frames], report.values["classes"]).savefig(temporary)
        report.lines.append(f"plots: {args.plot}")
    return report


def summarize_videos(facts: Sequence[VideoFacts], labels: Sequence[str]) -> CommandReport:
    """Returns the statistics of a data set.

    Args:
        facts: one per file.
        labels: the classes of each line of the list; empty for a folder.
    """
    import numpy as np  # here, so that `--help` stays fast

    read = [fact for fact in facts if fact.frames]
    duration, size = sum(fact.seconds for fact in read), sum(fact.bytes for fact in read)
    problems = count_problems([fact.problem for fact in facts])
    values: dict[str, Any] = {
        "videos": len(facts),
        "problems": problems,
        "hours": duration / 3600,
        "gigabytes": size / 1e9,
        "codecs": dict(Counter(fact.codec for fact in read).most_common()),
        "classes": dict(Counter(labels).most_common()),
    }
    lines = [f"{counted(len(facts), 'video')}, {_with_unit(duration, _TIMES)}, {_with_unit(size, _BYTES)}"]
    lines += [f"  {count} {problem}" for problem, count in problems.items()]
    lines.append("codecs: " + ", ".join(f"{name} {count}" for name, count in values["codecs"].items()))
    if read:
        lines.append(f"{'':<18}" + "".join(f"{name:>9}" for name in ("min", "25 %", "median", "75 %", "max")))
    for measure, title in _MEASURES.items() if read else ():
        column = np.array([getattr(fact, measure) for fact in read], np.float64)
        quartiles = np.percentile(column, [0, 25, 50, 75, 100]).tolist()
        names = ("least", "quarter", "median", "three_quarters", "most")
        values[measure] = dict(zip(names, quartiles, strict=True))
        lines.append(f"{title:<18}" + "".join(f"{_plain(value):>9}" for value in quartiles))
    values["variable_rate"] = [fact.path for fact in read if fact.variable_rate]
    lines += list_variable_rates(read)
    if labels:
        counts = list(values["classes"].values())
        classes = counted(len(counts), "class", "classes")
        videos = counted(max(counts), "video")
        lines.append(
            f"{classes} with {videos} each"
            if min(counts) == max(counts)
            else f"{classes} with {min(counts)} to {videos}"
        )
    return CommandReport(lines, values)


def _plain(value: float) -> str:
    """Returns a value with up to four digits, or with all digits before the point."""
    return f"{value:.4g}" if value < 9999.5 else f"{value:.0f}"


def _with_unit(value: float, units: Sequence[tuple[str, float]]) -> str:
    """Returns a value with the largest unit that it has at least one of."""
    name, size = next((unit for unit in units if value >= unit[1]), units[-1])
    return f"{value / size:.4g} {name}"


def _draw(facts: Sequence[VideoFacts], classes: dict[str, int]) -> Figure:
    """Draws histograms of all measures and of the classes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for axis, (measure, title) in zip(axes, _MEASURES.items(), strict=False):
        # Rounded, because bins cannot separate values that differ in the last bit only.
        found = [round(getattr(fact, measure), 3) for fact in facts]
        axis.hist(found, bins=40)
        axis.xaxis.get_major_locator().set_params(integer=all(isinstance(value, int) for value in found))
        axis.set_xlabel(title)
        axis.set_ylabel("videos")
    axes[-1].bar(range(1, len(classes) + 1), list(classes.values()), width=0.9 if len(classes) < 100 else 1)
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    axes[-1].set_xlabel("classes, most frequent first")
    axes[-1].set_ylabel("videos")
    return figure
