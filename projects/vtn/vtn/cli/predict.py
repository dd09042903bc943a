"""Prediction of the classes of videos of any length, as a whole, over time, or live.

SOURCE is a folder that `vtn publish` wrote, OWNER/NAME of such a folder on the Hugging Face hub, a
checkpoint, or a file or folder that `vtn export` wrote; class names, normalisation and the choice of frames
come with it. VIDEO is a file, a folder (all videos in it, at any depth), a pattern such as "clips/*.mp4", -
for a list of paths on standard input, an http(s):// address, and with --live a camera's number or an rtsp://
address.
Exit status: 0 done, 1 a video or more failed, 2 the command or the configuration is wrong, 130 interrupted.

With --checkpoint instead of SOURCE, one video is predicted as the test of the configuration does, with all
its clips and crops. Features of full videos are kept on the disk: Ctrl-C keeps those computed so far, the
same command continues from there, and other windows need no second decoding. Windows are of the middle crop.

examples:
  the classes of all videos in a folder, and a table of all scores
    vtn predict published/MINE clips --csv scores.csv

  many videos: a line as soon as each is predicted; the same command continues after a stop
    vtn predict published/MINE clips --jsonl scores.jsonl --resume --quiet

  scores over time of a long video, from one frame per second
    vtn predict published/MINE film.mp4 --fps 1 --window 10 --stride 5 --json film.json

  a camera, by its last five seconds
    vtn predict published/MINE 0 --live 5 --jsonl camera.jsonl

  weights without a configuration
    vtn predict weights.pyth video.mp4 --cfg VIT_B_VTN

  the same with the features kept on the disk
    vtn predict --cfg VIT_B_VTN --checkpoint weights.pyth video.mp4 --window 10 --output video.csv
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from slowfast.cli.commands import make_parser
from slowfast.cli.options import output_file, positive_integer, positive_number
from slowfast.errors import SlowFastError
from slowfast.exit_status import run_command
from slowfast.files import naming_file
from slowfast.interrupt import Interrupt
from slowfast.log import printable
from vtn.cli.model_options import add_device_option, add_source_options

PROGRAM = "vtn predict"

# Options of one of the two forms of the command.
_OF_SOURCE = (
    "views", "live", "json", "csv", "jsonl", "resume", "quiet", "progress", "imports", "backbone",
    "trust_code", "device", "precision", "batch_size", "workers", "time_limit",
)  # fmt: skip
_OF_CHECKPOINT = ("output", "features")


def build_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = make_parser(
        __doc__,
        program,
        PROGRAM,
        usage=f"{program} SOURCE VIDEO… [options]\n"
        f"       {program} --cfg CONFIG --checkpoint FILE VIDEO [options] [KEY VALUE …]",
    )
    parser.add_argument(
        "arguments", nargs="*", metavar="SOURCE VIDEO…", help="weights, and one or more videos"
    )
    _add_frames(parser.add_argument_group("frames and scores"))
    _add_results(parser.add_argument_group("results"))
    _add_model(parser)
    _add_checkpoint(parser.add_argument_group("one video, with its features on the disk"))
    return parser


def _add_frames(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--views",
        type=positive_integer,
        nargs=2,
        metavar=("T", "S"),
        help="merge the scores of T clips with S crops each (default: the full video at once)",
    )
    group.add_argument(
        "--fps",
        type=positive_number,
        metavar="N",
        help="frames per second (default: as in the test; for windows, as in training clips)",
    )
    for option, meaning in (
        ("--window", "also score windows of this length"),
        ("--stride", "from the start of a window to the next (default: the length of a window); with --live "
         "from one result to the next (default: 1)"),
        ("--live", "follow one camera, address or file, score its last SECONDS, and print a line whenever "
         "the best class changes"),
    ):  # fmt: skip
        group.add_argument(option, type=positive_number, metavar="SECONDS", help=meaning)
    group.add_argument(
        "--top",
        type=positive_integer,
        default=5,
        metavar="N",
        help="number of best classes (default: %(default)s)",
    )


def _add_results(group: argparse._ArgumentGroup) -> None:
    for option, description in (
        ("--json", "write all scores to this file; - prints them"),
        ("--csv", "write a table: a row per video and window"),
        ("--jsonl", "write a line of JSON per video as soon as it is predicted"),
    ):
        group.add_argument(option, type=_results_file, default="", metavar="FILE", help=description)
    group.add_argument(
        "--resume",
        action="store_true",
        help="keep the scores in the file of --jsonl, and predict the videos that have none there",
    )
    group.add_argument("--quiet", action="store_true", help="print failures only")
    group.add_argument("--progress", action="store_true", help="show a progress bar instead of the classes")


def _results_file(text: str) -> str:
    """Returns the path of a file of results; refuses a video, which the user may have meant as an input."""
    from slowfast.datasets.video_folder import VIDEO_SUFFIXES
    from slowfast.video.still_images import IMAGE_SUFFIXES

    if Path(text).suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
        raise argparse.ArgumentTypeError(
            f"{text}: is the name of a video, and would be replaced; name the file of results, such as "
            f"{Path(text).stem}.json, and then the videos"
        )
    return output_file(standard_output=True)(text)


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = add_source_options(parser, exported=True)
    add_device_option(group)
    group.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="precision of the model (default: float32); with --checkpoint, set INFERENCE.PRECISION",
    )
    group.add_argument(
        "--batch-size",
        type=positive_integer,
        default=8,
        metavar="N",
        help="views scored together (default: 8); without effect with --window",
    )
    group.add_argument(
        "--workers",
        type=positive_integer,
        metavar="N",
        help="videos decoded at the same time (default: 1 to 4; with --window 1)",
    )
    group.add_argument(
        "--time-limit",
        type=positive_number,
        default=300.0,
        metavar="SECONDS",
        help="for reading a video, which fails after it (default: %(default)g); with --window, and for "
        "videos of more than 512 scored frames, for reading each chunk of frames",
    )


def _add_checkpoint(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--checkpoint", default="", metavar="FILE", help="weights of the model; needs --cfg")
    group.add_argument(
        "--output",
        type=output_file(".json", ".csv"),
        metavar="FILE",
        help="write all scores to this file, .json or .csv, in the form of --json or --csv",
    )
    group.add_argument(
        "--features",
        type=output_file(),
        default="",
        metavar="FILE",
        help="file of the features of a full video, .npy, with a .json beside it (default: a file in "
        "OUTPUT_DIR/features); several crops have crop0, crop1 … in the names of their files",
    )


def main(argv: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """Runs the command line and returns the exit status."""
    parser = build_parser(program)
    args = parser.parse_intermixed_args(argv)
    check = _check_checkpoint_form if args.checkpoint else _check_source_form
    check(parser, args)

    def work() -> int:
        from vtn.cli.predict_videos import log_to_stderr, predict_videos

        if not args.checkpoint:
            return predict_videos(args, parser.prog)
        log_to_stderr(logging.INFO)
        with Interrupt() as interrupt:
            _predict(args, interrupt)
        return 0

    return run_command(parser.prog, work, expected=(SlowFastError, OSError))


def _given(parser: argparse.ArgumentParser, args: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """Returns those of some options whose values are not the defaults."""
    changed = [name for name in names if getattr(args, name) != parser.get_default(name)]
    return [f"--{name.replace('_', '-')}" for name in changed]


def _check_source_form(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if len(args.arguments) < 2:
        parser.error("give SOURCE and at least one VIDEO, or --cfg and --checkpoint with one VIDEO")
    for option in _given(parser, args, _OF_CHECKPOINT):
        parser.error(f"{option}: belongs to --checkpoint; use --json, --csv or --jsonl with SOURCE")
    if args.stride and not (args.window or args.live):
        parser.error("--stride: needs --window or --live; give both")
    if args.views and (args.window or args.live or args.fps):
        parser.error("--views: scores clips, so that it excludes --window, --live and --fps")
    if args.live and (args.window or args.json or args.csv or args.progress):
        parser.error("--live: excludes --window, --json, --csv and --progress; use --jsonl")
    if args.live and len(args.arguments) != 2:
        parser.error("--live: follows one VIDEO; give exactly one")
    if args.resume and (not args.jsonl or args.jsonl == "-" or args.json or args.csv or args.live):
        parser.error("--resume: needs --jsonl FILE, and excludes --json, --csv and --live")
    if [args.json, args.csv, args.jsonl].count("-") > 1:
        parser.error("-: only one of --json, --csv and --jsonl can be standard output")
    files: dict[Path, str] = {}
    for option in ("json", "csv", "jsonl"):
        path = getattr(args, option)
        if path and path != "-" and (other := files.setdefault(Path(path).resolve(), option)) != option:
            parser.error(f"--{option} {path}: is the file of --{other}, too; name another one")


def _check_checkpoint_form(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if not args.cfg:
        parser.error("--checkpoint: needs --cfg, the configuration of the weights; give both")
    if not args.arguments:
        parser.error("give the VIDEO")
    if Path(video := args.arguments[0]).is_dir():
        parser.error(
            f"{video}: is a folder, but --checkpoint predicts one video; for all videos in it use "
            f"{parser.prog} {args.checkpoint} {video} --cfg {args.cfg}"
        )
    if "://" in video and not Path(video).exists():  # not shown: it may contain a password
        parser.error(
            f"--checkpoint predicts one file; for an address use {parser.prog} {args.checkpoint} ADDRESS "
            f"--cfg {args.cfg}"
        )
    for option in _given(parser, args, _OF_SOURCE):
        parser.error(f"{option}: belongs to the form SOURCE VIDEO…; give the weights as SOURCE")
    if args.stride and not args.window:
        parser.error("--stride: needs --window; give both")
    if args.output and args.features:
        from slowfast.features.storage import feature_paths

        _, description = feature_paths(args.features)
        if Path(args.output) == description:
            parser.error(
                f"--output {args.output}: is the description of --features; choose another name for --output"
            )


def _predict(args: argparse.Namespace, interrupt: Interrupt) -> None:
    """Predicts one video, prints the best classes, and writes the scores where asked for."""
    from vtn.predictor.single_video import PredictionRequest, predict_video

    video, *overrides = args.arguments
    request = PredictionRequest(
        video=video,
        config=args.cfg,
        checkpoint=args.checkpoint,
        overrides=overrides,
        fps=args.fps,
        window_seconds=args.window,
        stride_seconds=args.stride,
        features=args.features,
    )
    prediction = predict_video(request, interrupt)
    print(printable(prediction.describe(args.top)))
    if args.output:
        with naming_file(args.output):
            prediction.write(args.output, args.top)
        print(printable(f"all scores: {args.output}"))


if __name__ == "__main__":
    sys.exit(main())
