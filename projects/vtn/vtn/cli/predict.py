"""Prediction of the classes of a video of any length, as a whole and over time.

Ctrl-C keeps the features so far; the same command continues from there. The features of a finished video are
used again: scoring other windows takes seconds.
Exit status: 0 done, 1 failed, 2 the command or the configuration is wrong, 130 interrupted.

examples:
  the classes of a video
    vtn predict --cfg VIT_B_VTN --checkpoint weights.pyth video.mp4

  a table of scores for every ten seconds of a long video, from one frame per second
    vtn predict --cfg VIT_B_VTN --checkpoint weights.pyth video.mp4 \\
        --fps 1 --window 10 --stride 5 --output video.csv
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast.cli.commands import make_parser

if TYPE_CHECKING:
    from slowfast.interrupt import Interrupt

PROGRAM = "vtn predict"


def build_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = make_parser(__doc__, program, PROGRAM, allow_abbrev=False)
    parser.add_argument("video", metavar="VIDEO", help="video file")
    parser.add_argument(
        "--cfg", required=True, metavar="F", help="YAML file, or the name of a shipped configuration"
    )
    parser.add_argument("--checkpoint", required=True, metavar="F", help="weights of the model")
    parser.add_argument(
        "--fps",
        type=_positive,
        metavar="N",
        help="frames per second to encode (default: DATA.TARGET_FPS / DATA.SAMPLING_RATE, as in training)",
    )
    parser.add_argument(
        "--window", type=_positive, metavar="SECONDS", help="also score windows of this length"
    )
    parser.add_argument(
        "--stride",
        type=_positive,
        metavar="SECONDS",
        help="from the start of a window to the next (default: the length of a window)",
    )
    parser.add_argument(
        "--top", type=int, default=5, metavar="N", help="number of classes to print (default: 5)"
    )
    parser.add_argument(
        "--output", type=_table, metavar="F", help="write all scores to this .json or .csv file"
    )
    parser.add_argument(
        "--features",
        default="",
        metavar="F",
        help="file of the frames' features, .npy, with a .json beside it (default: a file in "
        "OUTPUT_DIR/features)",
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="keys to change, with their values")
    return parser


def main(argv: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """Runs the command line and returns the exit status.

    Args:
        argv: arguments without the program's name; None: those of the process.
        program: the command as the user has typed it, for help and messages.
    """
    parser = build_parser(program)
    args = parser.parse_intermixed_args(argv)
    if args.stride and not args.window:
        parser.error("--stride: needs --window; give both")
    if args.output and args.features:
        from slowfast.features.storage import feature_paths

        _, description = feature_paths(args.features)
        if Path(args.output) == description:
            parser.error(
                f"--output {args.output}: is the description of --features; choose another name for --output"
            )

    # Imported here, so that --help and wrong arguments are answered at once.
    from slowfast.errors import SlowFastError
    from slowfast.exit_status import run_command
    from slowfast.interrupt import Interrupt, Interrupted
    from slowfast.log import setup_logging

    setup_logging(None)

    def work() -> int:
        try:
            with Interrupt() as interrupt:
                _predict(args, interrupt)
        except Interrupted as stopped:
            print(f"{parser.prog}: {stopped}", file=sys.stderr)
            return stopped.exit_code
        return 0

    return run_command(parser.prog, work, expected=(SlowFastError, OSError))


def _predict(args: argparse.Namespace, interrupt: Interrupt) -> None:
    """Predicts, prints the best classes, and writes the scores where asked for."""
    from vtn.inference.video_prediction import PredictionRequest, naming_file, predict_video

    request = PredictionRequest(
        video=args.video,
        config=args.cfg,
        checkpoint=args.checkpoint,
        overrides=args.overrides,
        fps=args.fps,
        window=args.window,
        stride=args.stride,
        features=args.features,
    )
    prediction = predict_video(request, interrupt)
    print(prediction.describe(args.top))
    if args.output:
        with naming_file(args.output):
            prediction.write(args.output, args.top)
        print(f"all scores: {args.output}")


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: must be above 0")
    return value


def _table(text: str) -> str:
    if Path(text).suffix not in (".json", ".csv"):
        raise argparse.ArgumentTypeError(f"{text}: must end in .json or .csv")
    return text


if __name__ == "__main__":
    sys.exit(main())
