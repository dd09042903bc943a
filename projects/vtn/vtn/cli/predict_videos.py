"""Predictions of many videos for `vtn predict`: lines on the terminal, files, and the exit status."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from slowfast.distributed.device import limit_threads
from slowfast.errors import InputError, UsageError, counted
from slowfast.exit_status import EXIT_ERROR
from slowfast.files import naming_file
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.log import LineFormatter, printable, show_info
from slowfast.progress import Progress, format_duration
from slowfast.video.container import without_secrets
from vtn.cli.model_options import predictor_options
from vtn.cli.resumed_lines import describe_settings, hold_lines, keep_scored_videos
from vtn.inference.prediction import Prediction
from vtn.predictor.predictor import Predictor
from vtn.predictor.videos import VideoSource, expand_arguments, is_endless
from vtn.predictor.writers import STANDARD_OUTPUT, open_writers

_HANDLER = "vtn predict"


def predict_videos(args: argparse.Namespace, program: str) -> int:
    """Predicts the videos of a parsed command line and returns the exit status.

    Args:
        args: see ``vtn.cli.predict``.
        program: name of the command, at the start of messages.

    Raises:
        InputError: for a camera or an address that has no end, without ``--live``.
        Interrupted: after a stop signal, once the video in work is done.
    """
    log_to_stderr(logging.INFO if args.progress else logging.WARNING)
    source, *videos = args.arguments
    endless = [video for video in videos if is_endless(video)]
    if endless and not args.live:
        raise InputError(f"{without_secrets(endless[0])}: has no end; give --live SECONDS to follow it")
    limit_threads()
    predictor = Predictor(
        source,
        **predictor_options(args),
        precision=args.precision,
        views=tuple(args.views) if args.views else None,
        batch_size=args.batch_size,
        workers=args.workers,
    )
    settings = describe_settings(args, predictor) if args.json or args.jsonl else {}
    if args.live:
        _check_outputs(args, source, videos)
        with hold_lines(args.jsonl, resumes=False):
            return _follow(args, predictor, videos[0], settings)
    ignored: list[str] = []
    sources = list(expand_arguments(videos, _standard_input(), ignored=ignored))
    if not sources:
        print(f"{program}: no VIDEO was given: the list on standard input is empty", file=sys.stderr)
        return EXIT_ERROR
    _check_outputs(args, source, [one.name for one in sources])
    notes = f"; {counted(len(ignored), 'other file')} ignored" if ignored else ""
    with hold_lines(args.jsonl, resumes=args.resume):
        if args.resume:
            scored = keep_scored_videos(args, predictor, settings)
            remaining = [one for one in sources if one.name not in scored]
            notes += f"; {counted(len(sources) - len(remaining), 'video')} had scores in {args.jsonl}"
            sources = remaining
        return _predict_all(args, predictor, sources, program, settings=settings, notes=notes)


def _predict_all(
    args: argparse.Namespace,
    predictor: Predictor,
    sources: Sequence[VideoSource],
    program: str,
    *,
    settings: Mapping[str, Any],
    notes: str,
) -> int:
    """Predicts, prints and writes; a failure is one line on stderr and one entry in the files.

    Args:
        settings: how the predictions are made, for the files.
        notes: the end of the summary.
    """
    done, failed, started = 0, 0, time.monotonic()
    results = predictor.stream(
        sources, window_seconds=args.window, stride_seconds=args.stride, time_limit=args.time_limit
    )
    with (
        open_writers(
            predictor.class_names,
            args.top,
            json_path=args.json,
            csv_path=args.csv,
            lines_path=args.jsonl,
            settings=settings,
            append_lines=args.resume,
        ) as write,
        Progress(len(sources), "predicted", "video", enabled=args.progress) as progress,
        Interrupt(f"{program}: stops after the video in work") as interrupt,
        closing(results),
    ):
        for result in results:
            write(result)
            done, failed = done + 1, failed + bool(result.error)
            _print_result(result, args, program, in_full=len(sources) == 1 or args.window is not None)
            progress.update()
            if interrupt.requested() and done < len(sources):
                raise Interrupted(interrupt.signum, _describe_progress(args, done, len(sources)))
    if (len(sources) > 1 or notes) and not args.quiet:
        found = f"{done - failed} of {counted(len(sources), 'video')} predicted"
        failures = f", {failed} failed" if failed else ""
        print(f"{found}{failures}, {time.monotonic() - started:.1f} s{notes}", file=sys.stderr)
    return EXIT_ERROR if failed else 0


def _print_result(result: Prediction, args: argparse.Namespace, program: str, *, in_full: bool) -> None:
    """Prints the best classes of a video where they are wanted, and the reason of a failure on stderr."""
    if result.error:
        tqdm.write(f"{program}: {printable(result.describe())}", file=sys.stderr)
    elif not (args.quiet or args.progress or STANDARD_OUTPUT in (args.json, args.csv, args.jsonl)):
        text = result.describe(args.top) if in_full else result.describe_in_a_line(args.top)
        with naming_file("standard output"):
            print(printable(text))


def _describe_progress(args: argparse.Namespace, done: int, total: int) -> str:
    """Returns what an interrupted prediction has done, and where its results are."""
    kept = [path for path in (args.json, args.csv) if path and path != STANDARD_OUTPUT]
    unchanged = f"; {', '.join(kept)} not written, so that an earlier file stays" if kept else ""
    lines = f"; --jsonl {args.jsonl} has the results so far; add --resume to continue"
    lines = lines if args.jsonl not in ("", STANDARD_OUTPUT) else ""
    remedy = "; --jsonl FILE keeps the results so far" if kept and not lines else ""
    return f"{done} of {total} videos are done{unchanged}{lines}{remedy}"


def _check_outputs(args: argparse.Namespace, source: str, videos: Sequence[str]) -> None:
    """Raises ``UsageError`` for a file of results that would replace the model or a video."""
    model = Path(source).resolve()
    inputs = {Path(video).resolve() for video in videos}
    for option in ("json", "csv", "jsonl"):
        path = Path(getattr(args, option)).resolve()
        if not path.is_file():
            continue
        if model in (path, *path.parents):
            raise UsageError(f"--{option} {path}: belongs to the model; name another file")
        if path in inputs:
            raise UsageError(f"--{option} {path}: is one of the videos; name another file")


def _follow(args: argparse.Namespace, predictor: Predictor, video: str, settings: Mapping[str, Any]) -> int:
    """Follows one source until it ends; prints a line whenever the best class changes."""
    updates = predictor.follow(video, last_seconds=args.live, every_seconds=args.stride or 1.0)
    best = None
    shows = not (args.quiet or args.jsonl == STANDARD_OUTPUT)
    with (
        open_writers(predictor.class_names, args.top, lines_path=args.jsonl, settings=settings) as write,
        closing(updates),
    ):
        for update in updates:
            write(update)
            (now,) = update.top(1)
            if shows and now.label != best:
                print(
                    f"{format_duration(update.seconds)}  {printable(now.text)}  {now.score:.3f}", flush=True
                )
            best = now.label
    return 0


def _standard_input() -> Iterator[str]:
    """Yields the lines of standard input; file names that are not UTF-8 keep their bytes.

    Raises:
        UsageError: for input that is not a list of paths, such as a video.
    """
    for line in sys.stdin.buffer:
        if b"\0" in line:
            raise UsageError(
                "-: standard input must be a list of paths, one per line, but has a NUL byte; give a video "
                "by its path, and leave out -print0 of find"
            )
        yield os.fsdecode(line)


def log_to_stderr(level: int) -> None:
    """Sends log lines to stderr, since standard output is for results."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(level)
    handler.setFormatter(LineFormatter("%(levelname)s: %(message)s"))
    root = logging.getLogger()
    for old in [one for one in root.handlers if one.name == _HANDLER]:
        root.removeHandler(old)
    handler.name = _HANDLER
    root.addHandler(handler)
    show_info()
