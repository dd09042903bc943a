"""Check of videos: broken, truncated, silently corrupt, short and duplicate ones, and a list without them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from slowfast.errors import counted
from slowfast.files import output_file
from slowfast.preparation.arguments import add_list_arguments, add_work_arguments, work_options
from slowfast.preparation.lists import read_video_list
from slowfast.preparation.report import CommandReport

if TYPE_CHECKING:  # keeps `--help` fast
    from slowfast.preparation.file_work.probe import VideoFacts

EXAMPLES = """\
examples:
  decode every video of a list; write the list without the bad ones, and a report
    slowfast prepare scan data/train.csv --clean data/train_clean.csv --report scan.json
  read packets only: ten times as fast; finds truncated videos, but not corrupt ones
    slowfast prepare scan data/videos --quick
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_list_arguments(parser)
    parser.add_argument(
        "--clean",
        type=output_file(),
        metavar="CSV",
        help="write the lines of the valid videos to this file",
    )
    parser.add_argument("--quick", action="store_true", help="read packets without decoding them")
    parser.add_argument("--min-seconds", type=float, default=0.0, metavar="S", help="report shorter videos")
    parser.add_argument(
        "--min-frames", type=int, default=1, metavar="N", help="report videos with fewer frames"
    )
    parser.add_argument(
        "--keep-duplicates", action="store_true", help="do not search for files with equal content"
    )
    add_work_arguments(parser, time_limit=120.0)


def run(args: argparse.Namespace) -> CommandReport:
    """Checks the videos and returns the report."""
    from slowfast.preparation.file_work.work import count_problems, list_variable_rates, survey

    videos = read_video_list(args.list, separator=args.separator, prefix=args.prefix)
    facts = survey(
        videos.paths,
        work_options(args, "scan"),
        decode=not args.quick,
        with_hash=not args.keep_duplicates,
        description="scan",
    )
    facts = mark_short(facts, min_seconds=args.min_seconds, min_frames=args.min_frames)
    facts = mark_duplicates(facts)
    bad = [fact for fact in facts if fact.problem]
    if args.clean:
        refused = {fact.path for fact in bad}
        videos.write(args.clean, [entry for entry in videos.entries if entry.path not in refused])
    return CommandReport(
        lines=[
            f"{counted(len(facts), 'video')}, {len(facts) - len(bad)} of them valid",
            *(f"  {count} {problem}" for problem, count in count_problems([f.problem for f in bad]).items()),
            *(f"{fact.path}: {fact.problem}" + (f" ({fact.detail})" if fact.detail else "") for fact in bad),
            *list_variable_rates(facts),
            *([f"clean list: {args.clean}"] if args.clean else []),
        ],
        values={
            "source": args.list,
            "videos": len(facts),
            "valid": len(facts) - len(bad),
            "problems": count_problems([fact.problem for fact in bad]),
            "bad": [{"path": f.path, "problem": f.problem, "detail": f.detail} for f in bad],
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


def mark_duplicates(facts: Sequence[VideoFacts]) -> list[VideoFacts]:
    """Marks valid videos whose content equals that of an earlier one."""
    first: dict[str, str] = {}
    marked = []
    for fact in facts:
        if fact.content_hash and not fact.problem:
            original = first.setdefault(fact.content_hash, fact.path)
            if original != fact.path:
                fact = replace(fact, problem="duplicate", detail=f"same content as {original}")
        marked.append(fact)
    return marked
