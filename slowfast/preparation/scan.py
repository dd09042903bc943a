"""Find broken, short, silently corrupt and duplicate videos, and write a clean list."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace

from slowfast.preparation.arguments import add_list_arguments, add_work_arguments, work_options
from slowfast.preparation.file_work.probe import VideoFacts
from slowfast.preparation.file_work.work import count_problems, survey
from slowfast.preparation.lists import read_list
from slowfast.preparation.report import Report

EXAMPLES = """\
examples:
  decode every video of a list; write the list without the bad ones, and a report
    python tools/prepare_data.py scan data/train.csv --clean data/train_clean.csv --report scan.json
  read the packets only, which is ten times as fast and finds what is truncated, but not what is corrupt
    python tools/prepare_data.py scan data/videos --quick
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_list_arguments(parser)
    parser.add_argument("--clean", metavar="CSV", help="write the lines of the sound videos here")
    parser.add_argument("--quick", action="store_true", help="do not decode, only read packets")
    parser.add_argument("--min-seconds", type=float, default=0.0, metavar="S", help="shorter ones are short")
    parser.add_argument("--min-frames", type=int, default=1, metavar="N", help="fewer frames are short")
    parser.add_argument(
        "--keep-duplicates", action="store_true", help="do not look for files that are the same"
    )
    add_work_arguments(parser, time_limit=120.0)


def run(args: argparse.Namespace) -> Report:
    """Scans as the command line says."""
    videos = read_list(args.list, separator=args.separator, prefix=args.prefix)
    facts = survey(
        videos.paths,
        work_options(args, "scan"),
        decode=not args.quick,
        digest=not args.keep_duplicates,
        description="scan",
    )
    facts = mark_short(facts, min_seconds=args.min_seconds, min_frames=args.min_frames)
    facts = mark_duplicates(facts)
    bad = [fact for fact in facts if fact.problem]
    if args.clean:
        refused = {fact.path for fact in bad}
        videos.write(args.clean, [entry for entry in videos.entries if entry.path not in refused])
    return Report(
        lines=[
            f"{len(facts)} videos, {len(facts) - len(bad)} of them sound",
            *(f"  {count} {problem}" for problem, count in count_problems([f.problem for f in bad]).items()),
            *(f"{fact.path}: {fact.problem}" + (f" ({fact.detail})" if fact.detail else "") for fact in bad),
            *([f"clean list: {args.clean}"] if args.clean else []),
        ],
        values={
            "source": args.list,
            "videos": len(facts),
            "sound": len(facts) - len(bad),
            "problems": count_problems([fact.problem for fact in bad]),
            "bad": [{"path": f.path, "problem": f.problem, "detail": f.detail} for f in bad],
            "facts": [asdict(fact) for fact in facts],
        },
    )


def mark_short(facts: Sequence[VideoFacts], *, min_seconds: float, min_frames: int) -> list[VideoFacts]:
    """Marks sound videos that have too little to show."""
    return [
        replace(fact, problem="short", detail=f"{fact.frames} frames, {fact.seconds:.2f} s")
        if not fact.problem and (fact.seconds < min_seconds or fact.frames < min_frames)
        else fact
        for fact in facts
    ]


def mark_duplicates(facts: Sequence[VideoFacts]) -> list[VideoFacts]:
    """Marks sound videos with the content of an earlier one."""
    first: dict[str, str] = {}
    marked = []
    for fact in facts:
        if fact.digest and not fact.problem:
            original = first.setdefault(fact.digest, fact.path)
            if original != fact.path:
                fact = replace(fact, problem="duplicate", detail=f"the same as {original}")
        marked.append(fact)
    return marked
