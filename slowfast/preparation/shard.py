"""Copies of the videos of a list in shards, tar archives with labels, for file systems slow on small files.

The shards have the layout of WebDataset: the video `000123.mp4`, its class index in `000123.cls`, and labels,
segment, group and the path of the file in `000123.json`. The same list and options give the same bytes.
--workers shards are written at a time. Train with TRAIN.DATASET shards.

examples:
  the videos of two lists in shards of one gigabyte
    slowfast prepare shard data/train.csv shards/train --shard-size 1GB
    slowfast prepare shard data/val.csv shards/val --shard-size 1GB
  train on them
    slowfast run --cfg run.yaml TRAIN.DATASET shards TEST.DATASET shards DATA.PATH_TO_DATA_DIR shards
  leave out files that are not videos or are cut off, and write a report
    slowfast prepare shard data/train.csv shards/train --check --json shards/train.json
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast.datasets.shards.find import SUFFIX
from slowfast.datasets.shards.index import index_path
from slowfast.datasets.shards.manifest import MANIFEST, ShardManifest
from slowfast.datasets.text_files import CLASSES_FILE
from slowfast.errors import AnnotationError, DataError, counted
from slowfast.files import delete_unfinished, hold_lock
from slowfast.preparation.arguments import (
    add_list_arguments,
    add_seed_argument,
    add_work_arguments,
    byte_count,
    work_options,
)
from slowfast.preparation.lists import VideoList, read_video_list
from slowfast.preparation.report import BadFile, CommandReport, describe_bad, list_bad

if TYPE_CHECKING:  # keeps `--help` fast
    from slowfast.preparation.sharding.plan import ShardPlan
    from slowfast.preparation.sharding.write import WrittenShard

# Seconds to wait for another call; one that has just finished may still hold its lock.
_LOCK_SECONDS = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_list_arguments(parser)
    parser.add_argument("target", metavar="TARGET", help="folder of the shards")
    parser.add_argument(
        "--shard-size",
        type=byte_count,
        default=byte_count("1GB"),
        metavar="BYTES",
        help="largest size of a shard, such as 500MB or 2GiB (default: 1GB)",
    )
    add_seed_argument(parser, "the order of the videos")
    parser.add_argument(
        "--keep-order",
        action="store_true",
        help="write the videos in the order of the list; without it classes that the list has one after "
        "another are mixed",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="first read the packets of each video, as scan --quick does, and leave out the bad ones",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="delete shards of another list or of other options"
    )
    add_work_arguments(parser, time_limit=120.0)


def run(args: argparse.Namespace) -> CommandReport:
    """Writes the shards and returns their report."""
    # Imported here, so that `--help` stays fast.
    from slowfast.preparation.sharding.plan import plan_shards

    videos = read_video_list(args.list, separator=args.separator, prefix=args.prefix)
    videos.require_labels()
    bad = _check_videos(videos, args) if args.check else []
    plan = plan_shards(
        videos,
        _name_videos(videos, args),
        shard_size=args.shard_size,
        seed=None if args.keep_order else args.seed,
        refused=[file.path for file in bad],
    )
    plan = replace(plan, left_out=(*bad, *plan.left_out))
    if not plan.shards:
        raise DataError(
            f"{args.list}: none of its {len(plan.left_out)} videos can be used, such as "
            f"{plan.left_out[0].path}: {plan.left_out[0].problem}; relative paths start in "
            f"{os.path.abspath(args.prefix)} (--prefix)"
        )
    os.makedirs(args.target, exist_ok=True)
    in_use = DataError(
        f"{args.target}: another process is writing shards there; wait until it has finished, or choose "
        "another folder"
    )
    # So that two calls do not delete each other's unfinished files.
    with hold_lock(Path(args.target, ".sharding.lock"), _LOCK_SECONDS, in_use):
        manifest, written = _write(plan, args)
        remarks = videos.copy_class_names([os.path.join(args.target, MANIFEST)])
    report = _report(args, plan, manifest, written)
    report.lines.extend(remarks)
    return report


def _write(plan: ShardPlan, args: argparse.Namespace) -> tuple[ShardManifest, list[WrittenShard]]:
    """Writes the shards and their manifest."""
    from slowfast.preparation.sharding.write import write_shards

    manifest = _claim_folder(plan, args)
    written = []
    known = {path for path, _, _ in manifest.left_out}
    for shard in write_shards(plan.shards, args.target, left_out=known, threads=max(args.workers, 1)):
        written.append(shard)
        if not shard.kept:
            manifest = _record_left_out(manifest, shard, args.target)
    manifest = replace(manifest, complete=True)
    manifest.write(args.target)
    return manifest, written


def _check_videos(videos: VideoList, args: argparse.Namespace) -> list[BadFile]:
    """Returns the videos whose packets cannot be read."""
    from slowfast.preparation.file_work.work import survey

    facts = survey(
        videos.paths, work_options(args, "shard"), decode=False, with_hash=False, description="check"
    )
    return [BadFile(fact.path, fact.problem, fact.detail) for fact in facts if fact.problem]


def _name_videos(videos: VideoList, args: argparse.Namespace) -> dict[str, str]:
    """Returns the name that a feature cache of the list gives each file, so that caches serve the shards."""
    from slowfast.features.cache import FeatureNames

    names = FeatureNames([args.prefix, os.path.dirname(args.list) or os.curdir])
    return {path: names(path) for path in videos.paths}


def _claim_folder(plan: ShardPlan, args: argparse.Namespace) -> ShardManifest:
    """Returns the manifest of the target, new or that of an interrupted call with the same settings.

    Raises:
        DataError: where the folder holds other shards, unless they are to be overwritten.
    """
    videos = sum(len(shard.videos) for shard in plan.shards)
    wanted = ShardManifest(args.list, plan.settings, len(plan.shards), videos)
    found = _read_manifest(args)
    if found is not None:
        delete_unfinished(args.target)
    if found is not None and found.settings == wanted.settings and not args.overwrite:
        wanted = replace(found, complete=False)
        wanted.write(args.target)
        return wanted
    others = sorted(path.name for path in Path(args.target).glob(f"*{SUFFIX}"))
    if others and (found is None or not args.overwrite):
        made = "of other videos or options, or its videos have changed" if found else "not of this command"
        remedy = "add --overwrite, or choose another folder" if found else "choose another folder"
        raise DataError(f"{args.target}: holds shards ({others[0]}) {made}; {remedy}")
    if found is not None and others:
        # Until all of them are deleted, the folder is neither complete nor that of the new shards.
        replace(found, complete=False).write(args.target)
        Path(args.target, CLASSES_FILE).unlink(missing_ok=True)  # the new list has its own, or none
    for name in others:
        path = os.path.join(args.target, name)
        os.unlink(path)
        Path(index_path(path)).unlink(missing_ok=True)
    wanted.write(args.target)
    return wanted


def _record_left_out(manifest: ShardManifest, shard: WrittenShard, folder: str) -> ShardManifest:
    """Records the videos that a new shard lacks at once, since a later call does not read them again."""
    own = {video.path for video in shard.planned.videos.values()}
    left_out = (*(video for video in manifest.left_out if video[0] not in own), *shard.left_out)
    if left_out != manifest.left_out:
        manifest = replace(manifest, left_out=left_out)
        manifest.write(folder)
    return manifest


def _read_manifest(args: argparse.Namespace) -> ShardManifest | None:
    try:
        return ShardManifest.read(args.target)
    except AnnotationError:
        if not args.overwrite:
            raise
        return None  # it is replaced, unless there are shards of which nothing is known


def _report(
    args: argparse.Namespace, plan: ShardPlan, manifest: ShardManifest, written: Sequence[WrittenShard]
) -> CommandReport:
    bad = [*plan.left_out, *(BadFile(*video) for video in manifest.left_out)]
    problems = list_bad(bad)
    kept = sum(shard.kept for shard in written)
    copied = manifest.videos - len(manifest.left_out)
    size = sum(shard.bytes for shard in written)
    return CommandReport(
        lines=[
            f"{counted(len(written), 'shard')} with {counted(copied, 'video')}, {size / 1e6:.1f} MB, "
            f"in {args.target}" + (f"; {kept} of them were complete already" if kept else ""),
            *([f"left out: {counted(len(bad), 'video')}"] if bad else []),
            *(f"  {count} {problem}" for problem, count in problems["problems"].items()),
            *describe_bad(bad),
        ],
        values={
            "source": args.list,
            "target": args.target,
            "shards": len(written),
            "kept": kept,
            "videos": copied,
            "bytes": size,
            **problems,
        },
    )
