"""Explanation of a prediction: attention, the frames that matter, the places in them, and their faithfulness.

SOURCE is as for `vtn predict`, except exported models; VIDEO is one file or http(s):// address. One page that
needs no network shows the video or a filmstrip, the scores of classes over time, the attention of [CLS] per
layer and head and rolled out over the layers, and the frames that mattered most: by occlusion, which is
exact, and by gradient. Deletion and insertion curves show how far each ranking of frames is faithful to the
model. Values (.json) and curves (.png) stand beside it. With --split, the areas under these curves are
measured over all videos of a list instead.
Exit status: 0 done, 1 a video failed, 2 the command or the configuration is wrong, 130 interrupted.

examples:
  the page of one video
    vtn explain published/MINE video.mp4 --output page.html

  another class than the predicted one, from five frames per second
    vtn explain published/MINE video.mp4 --output page.html --class "high jump" --fps 5

  faithfulness over a test split
    vtn explain published/MINE --split data/test.csv --output faithfulness.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast.cli.commands import make_parser
from slowfast.cli.options import output_file, positive_integer, positive_number
from slowfast.errors import InputError, SlowFastError, UsageError
from slowfast.exit_status import run_command
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.log import printable
from vtn.cli.model_options import add_list_options, add_predictor_options, predictor_options

if TYPE_CHECKING:
    from vtn.predictor.predictor import Predictor

PROGRAM = "vtn explain"


def build_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = make_parser(__doc__, program, PROGRAM)
    parser.add_argument("source", metavar="SOURCE", help="weights of the model")
    parser.add_argument("video", nargs="?", metavar="VIDEO", help="the video to explain")
    parser.add_argument(
        "--output",
        type=output_file(".html", ".json"),
        default="",
        metavar="FILE",
        help="page (.html); with --split a .json file",
    )
    group = parser.add_argument_group("one video")
    group.add_argument(
        "--class", dest="label", metavar="NAME", help="class to explain (default: the predicted one)"
    )
    group.add_argument(
        "--window",
        type=positive_number,
        metavar="SECONDS",
        help="length of windows with scores (default: a tenth of the video)",
    )
    group.add_argument(
        "--stride",
        type=positive_number,
        metavar="SECONDS",
        help="from the start of a window to the next (default: a quarter of the window)",
    )
    group.add_argument(
        "--top-frames",
        type=positive_integer,
        default=6,
        metavar="N",
        help="frames shown as those that matter most (default: %(default)s)",
    )
    group.add_argument("--no-regions", action="store_true", help="leave out the places within frames")
    group = parser.add_argument_group("a split")
    add_list_options(group, "over which faithfulness is measured")
    group.add_argument(
        "--limit",
        type=positive_integer,
        metavar="N",
        help="measure N random videos of the list (default: all)",
    )
    add_predictor_options(parser)
    return parser


def main(argv: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """Runs the command line and returns the exit status."""
    parser = build_parser(program)
    args = parser.parse_intermixed_args(argv)
    _check(parser, args)

    def work() -> int:
        from vtn.predictor.predictor import Predictor  # here, so that wrong arguments are answered at once

        with Interrupt() as interrupt:
            predictor = Predictor(args.source, **predictor_options(args))
            if args.split:
                return _explain_split(args, predictor, interrupt, program)
            return _explain_video(args, predictor, interrupt)

    return run_command(program, work, expected=(SlowFastError, OSError))


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if bool(args.video) == bool(args.split):
        parser.error("give SOURCE and one VIDEO, or SOURCE and --split")
    if args.split:
        for option in ("label", "window", "stride", "no_regions"):
            if getattr(args, option):
                name = {"label": "class"}.get(option, option.replace("_", "-"))
                parser.error(f"--{name}: belongs to the explanation of one VIDEO")
        if args.output and not args.output.endswith(".json"):
            parser.error(f"--output {args.output}: must end in .json with --split")
    else:
        if args.prefix or args.limit or args.separator != parser.get_default("separator"):
            parser.error("--separator, --prefix, --limit: belong to --split")
        if not args.output.endswith(".html"):
            problem = f" {args.output}: must end in .html" if args.output else ": must be given"
            parser.error(f"--output{problem}; name the page, such as --output page.html")


def _explain_video(args: argparse.Namespace, predictor: Predictor, interrupt: Interrupt) -> int:
    """Explains one video, prints the main facts, and writes the files."""
    from vtn.explaining.explain import find_label
    from vtn.explaining.page.write import check_page_path
    from vtn.explaining.video import ExplanationRequest

    try:
        find_label(predictor.class_names, args.label)
    except InputError as error:
        raise UsageError(f"--{error}") from error
    check_page_path(args.output)  # before the work
    request = ExplanationRequest(
        label=args.label,
        window_seconds=args.window,
        stride_seconds=args.stride,
        top_frames=args.top_frames,
        regions=not args.no_regions,
    )
    explanation = predictor.explain(args.video, request=request, show_progress=True, interrupt=interrupt)
    paths = explanation.write(args.output)
    print(printable(explanation.describe()))
    for path in paths:
        print(path)
    return 0


def _explain_split(args: argparse.Namespace, predictor: Predictor, interrupt: Interrupt, program: str) -> int:
    """Measures faithfulness over a list of videos, prints a table, and writes the values."""
    from slowfast.progress import Progress
    from vtn.explaining.split import choose_videos, describe_summaries, summarize_rankings, write_summary
    from vtn.inference.split import read_split

    videos = read_split(args.split, len(predictor.class_names), separator=args.separator, prefix=args.prefix)
    paths = choose_videos(videos.paths, args.limit)
    rows = []
    found = predictor.measure_faithfulness(paths)
    with Progress(len(paths), "explained", "video") as progress, closing(found):
        for row in found:
            if row.error:
                print(printable(f"{program}: {row.video}: {row.error}"), file=sys.stderr)
            rows.append(row)
            progress.update()
            if interrupt.requested() and len(rows) < len(paths):
                done = f"{len(rows)} of {len(paths)} videos were measured; nothing is written"
                raise Interrupted(interrupt.signum, done)
    summaries = summarize_rankings(rows)
    failed = sum(bool(row.error) for row in rows)
    if args.output:
        write_summary(args.output, rows, summaries, predictor.class_names)
    print(describe_summaries(summaries, len(rows) - failed))
    if args.output:
        print(Path(args.output))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
