"""Smaller copies of videos that decode fast, under the same names in another folder.

examples:
  short side 256 and a key frame every 12 frames, which suits training on clips
    slowfast prepare resize data/videos small/videos --short-side 256 --gop 12
  the videos of a list whose paths refer to data/; train with DATA.PATH_PREFIX small afterwards
    slowfast prepare resize data/train.csv small --prefix data --workers 16
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial

from slowfast.cli.options import integer_from, positive_integer
from slowfast.errors import DataError
from slowfast.preparation.arguments import add_list_arguments, add_work_arguments, work_options
from slowfast.preparation.lists import read_video_list
from slowfast.preparation.report import BadFile, CommandReport, describe_bad, list_bad

# Version of the copies; those of an earlier one are made again.
_VERSION = 2
_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_list_arguments(parser)
    parser.add_argument("target", metavar="TARGET", help="folder of the copies")
    parser.add_argument(
        "--short-side",
        type=integer_from(2),
        default=256,
        metavar="PIXELS",
        help="short side of the copies; smaller videos keep their size (default: 256)",
    )
    parser.add_argument(
        "--gop",
        type=positive_integer,
        default=12,
        metavar="N",
        help="frames between key frames (default: 12)",
    )
    parser.add_argument(
        "--crf", type=integer_from(0, 51), default=20, metavar="Q", help="quality, 0 best to 51 (default: 20)"
    )
    parser.add_argument(
        "--preset",
        default="fast",
        choices=_PRESETS,
        help="speed of the encoder x264, a slower one writes smaller files (default: fast)",
    )
    add_work_arguments(parser, time_limit=1800.0)


def run(args: argparse.Namespace) -> CommandReport:
    """Writes the copies and returns their report."""
    # Imported here, so that `--help` stays fast.
    from slowfast.preparation.file_work.transcode import Copy, Encoding, transcode
    from slowfast.preparation.file_work.work import work_through

    videos = read_video_list(args.list, separator=args.separator, prefix=args.prefix)
    root, target = os.path.abspath(videos.root), os.path.abspath(args.target)
    _check_folders(args, root, target)
    copy_paths = _place_copies(videos.paths, root, target)
    encoding = Encoding(args.short_side, args.gop, args.crf, args.preset)
    outcomes = work_through(
        list(copy_paths),
        partial(transcode, source_root=root, target_root=target, encoding=encoding),
        Copy,
        work_options(args, "resize"),
        description="resize",
        settings={"target": target, "encoding": repr(encoding), "version": _VERSION},
        is_current=lambda path, copy: copy is None or _size_of(copy_paths[path]) == copy.bytes_after,
    )
    copies = [outcome.value for outcome in outcomes.values() if outcome.value is not None]
    bad = [BadFile(o.path, o.problem, o.detail) for o in outcomes.values() if o.problem]
    before, after = sum(copy.bytes_before for copy in copies), sum(copy.bytes_after for copy in copies)
    return CommandReport(
        lines=[
            f"{len(copies)} of {len(outcomes)} videos copied to {target}",
            f"{before / 1e6:.1f} MB became {after / 1e6:.1f} MB",
            *describe_bad(bad),
        ],
        values={
            "source": args.list,
            "target": target,
            "videos": len(outcomes),
            "copied": len(copies),
            "bytes_before": before,
            "bytes_after": after,
            **list_bad(bad),
        },
    )


def _size_of(path: str) -> int:
    """Returns the bytes of a file; -1 where it is missing."""
    return os.path.getsize(path) if os.path.isfile(path) else -1


def _check_folders(args: argparse.Namespace, root: str, target: str) -> None:
    """Raises ``DataError`` where the copies would replace the videos, or be among them at the next call."""
    real_root, real_target = os.path.realpath(root), os.path.realpath(target)
    if real_root == real_target:
        raise DataError(f"{args.target}: the copies would replace the videos; choose another folder")
    if os.path.isdir(args.list) and os.path.commonpath([real_root, real_target]) == real_root:
        raise DataError(
            f"{args.target}: is inside {args.list}, so that the next call would resize the copies; choose a "
            "folder outside"
        )


def _place_copies(paths: Sequence[str], root: str, target: str) -> dict[str, str]:
    """Returns the path of each video -> that of its copy, both absolute.

    Raises:
        DataError: for a video outside of the folder, and for a copy that would replace one of the videos.
    """
    videos = [os.path.abspath(path) for path in paths]
    outside = [path for path in videos if os.path.relpath(path, root).split(os.sep)[0] == os.pardir]
    if outside:
        raise DataError(f"{outside[0]}: is not inside {root}; give the folder of all videos by --prefix")
    copies = {path: os.path.join(target, os.path.relpath(path, root)) for path in videos}
    # By their real paths: folders and videos may be links.
    real_videos = {os.path.realpath(path) for path in videos}
    for path, copy in copies.items():
        if os.path.realpath(copy) in real_videos:
            raise DataError(
                f"{copy}: is a video of the list, and the copy of {path} would replace it; choose another "
                "folder"
            )
    return copies
