"""Check of videos: broken, truncated, silently corrupt, short and duplicate ones, and a list without them.

Rows of a list are checked, too: segments outside of their file, repeats, and equal videos with other labels.

examples:
  decode every video of a list; write the list without the bad ones, and a report
    slowfast prepare scan data/train.csv --clean data/train_clean.csv --json scan.json
  read packets only: ten times as fast; finds truncated videos, but not corrupt ones
    slowfast prepare scan data/videos --quick
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from slowfast.cli.options import number_from_zero, output_file, positive_integer
from slowfast.datasets.text_files import parse_segment
from slowfast.datasets.video_list import ListRow
from slowfast.errors import counted
from slowfast.preparation.arguments import add_list_arguments, add_work_arguments, work_options
from slowfast.preparation.lists import VideoList, read_video_list
from slowfast.preparation.report import CommandReport, count_problems, describe_bad, list_variable_rates

if TYPE_CHECKING:  # keeps `--help` fast
    from slowfast.preparation.file_work.video_facts import VideoFacts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_list_arguments(parser)
    parser.add_argument(
        "--clean", type=output_file(), metavar="FILE", help="write the lines of the valid videos to this file"
    )
    parser.add_argument("--quick", action="store_true", help="read packets without decoding them")
    parser.add_argument(
        "--min-seconds", type=number_from_zero, default=0.0, metavar="SECONDS", help="report shorter videos"
    )
    parser.add_argument(
        "--min-frames", type=positive_integer, default=1, metavar="N", help="report videos with fewer frames"
    )
    parser.add_argument(
        "--keep-duplicates", action="store_true", help="do not search for files with equal content"
    )
    add_work_arguments(parser, time_limit=120.0)


def run(args: argparse.Namespace) -> CommandReport:
    """Checks the videos and returns the report."""
    from slowfast.preparation.file_work.work import survey

    videos = read_video_list(args.list, separator=args.separator, prefix=args.prefix)
    if args.clean:
        videos.require_other(args.clean, "name another file as --clean")
    facts = survey(
        videos.paths,
        work_options(args, "scan"),
        decode=not args.quick,
        with_hash=not args.keep_duplicates,
        description="scan",
    )
    facts = mark_short(facts, min_seconds=args.min_seconds, min_frames=args.min_frames)
    rows = check_rows(videos.entries, {fact.path: fact for fact in facts}, min_seconds=args.min_seconds)
    refused = {fact.path for fact in facts if fact.problem}
    refused_rows = {id(row.entry) for row in rows}
    valid = [e for e in videos.entries if e.path not in refused and id(e) not in refused_rows]
    report = _report(args, videos, facts, rows, valid)
    if args.clean:
        videos.write(args.clean, valid)
        report.lines.extend(videos.copy_class_names([args.clean]))
    return report


def _report(
    args: argparse.Namespace,
    videos: VideoList,
    facts: Sequence[VideoFacts],
    rows: Sequence[RowProblem],
    valid: Sequence[ListRow],
) -> CommandReport:
    bad = [(fact.path, "", fact.problem, fact.detail) for fact in facts if fact.problem]
    bad += [(row.entry.path, row.entry.text, row.problem, row.detail) for row in rows]
    problems = count_problems([problem for _, _, problem, _ in bad])
    files, count = len({entry.path for entry in valid}), len(videos.entries)
    return CommandReport(
        lines=[
            f"{counted(len(facts), 'video')}, {files} of them valid",
            *([f"{counted(count, 'row')}, {len(valid)} of them valid"] if count != len(facts) else []),
            *(f"  {number} {problem}" for problem, number in problems.items()),
            *describe_bad((path, problem, detail) for path, _, problem, detail in bad),
            *list_variable_rates(facts),
            *([f"clean list: {args.clean}"] if args.clean else []),
        ],
        values={
            "source": args.list,
            "videos": len(facts),
            "valid": files,
            "rows": count,
            "valid_rows": len(valid),
            "problems": problems,
            "bad": [
                {"path": path, "row": row, "problem": problem, "detail": detail}
                for path, row, problem, detail in bad
            ],
            "facts": [asdict(fact) for fact in facts],
        },
    )


def mark_short(facts: Sequence[VideoFacts], *, min_seconds: float, min_frames: int) -> list[VideoFacts]:
    """Marks valid videos that are too short."""
    return [
        replace(fact, problem="short", detail=f"{counted(fact.frames, 'frame')}, {fact.seconds:.2f} s")
        if not fact.problem and (fact.seconds < min_seconds or fact.frames < min_frames)
        else fact
        for fact in facts
    ]


@dataclass(frozen=True)
class RowProblem:
    """A row that is not valid, although its file is.

    Attributes:
        entry: the row.
        problem: short class: ``segment``, ``short``, ``duplicate`` or ``label conflict``.
        detail: description.
    """

    entry: ListRow
    problem: str
    detail: str


def check_rows(
    entries: Sequence[ListRow], facts: Mapping[str, VideoFacts], *, min_seconds: float
) -> list[RowProblem]:
    """Returns the rows of valid files that are not valid, in their order.

    Rows of equal content and segment are duplicates where they have one label, whatever the names of their
    files. With different labels they are a conflict, unless they name the same file.

    Args:
        facts: path -> properties of the file; equal content is found by their hashes, where they have any.
        min_seconds: least length of a segment.
    """
    found: list[RowProblem] = []
    # Content and segment -> label -> the first row.
    first: dict[tuple[str, tuple[float, float] | None], dict[str, ListRow]] = {}
    for entry in entries:
        fact = facts[entry.path]
        if fact.problem:
            continue
        segment = parse_segment(entry.start, entry.end)
        if problem := _segment_problem(segment, fact, min_seconds) if entry.start else None:
            found.append(RowProblem(entry, *problem))
        elif fact.content_hash:
            by_label = first.setdefault((fact.content_hash, segment), {})
            if problem := _repeat_problem(entry, by_label):
                found.append(RowProblem(entry, *problem))
            else:
                by_label[entry.label] = entry
    return found


def _segment_problem(
    segment: tuple[float, float] | None, fact: VideoFacts, min_seconds: float
) -> tuple[str, str] | None:
    """Returns problem and detail of a segment that reading refuses, or that is too short."""
    if segment is None:
        return "segment", "start and end must be seconds, 0 <= start < end"
    start, end = segment
    if start >= fact.seconds:
        return "segment", f"starts at {start:g} s, but the video ends at {fact.seconds:.3f} s"
    seconds = min(end, fact.seconds) - start
    return ("short", f"a segment of {seconds:.2f} s") if seconds < min_seconds else None


def _repeat_problem(entry: ListRow, by_label: Mapping[str, ListRow]) -> tuple[str, str] | None:
    """Returns problem and detail of a row whose content and segment earlier rows have, too."""
    same = "content and segment" if entry.start else "content"
    if original := by_label.get(entry.label):
        if original.path == entry.path:
            return "duplicate", "an earlier row is the same"
        return "duplicate", f"same {same} as {original.path}"
    path = os.path.realpath(entry.path)
    for label, other in by_label.items():
        if os.path.realpath(other.path) != path:
            return "label conflict", (
                f"same {same} as {other.path}, which has the label {label}, not {entry.label}"
            )
    return None
