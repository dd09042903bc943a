"""Export of a model to ONNX, or to an archive of torch.export.

SOURCE is a folder that `vtn publish` wrote, OWNER/NAME of such a folder on the Hugging Face hub, or a
checkpoint. The files take any number of clips and frames, and carry class names, normalisation and the choice
of frames. Those in float32 are compared with the model for several numbers of frames, with masks; a
difference above 1e-4 is an error, and no file is written. Times beside the model's are measured on this
processor.

Without --parts one file maps frames to scores: it takes all frames at once. With --parts backbone encoder the
folder OUTPUT gets two files: frames to features, and features to scores, so that features can be kept and
videos of any length scored. `vtn predict OUTPUT VIDEO…` runs them.

With --int8 the ONNX files are also written with 8-bit weights, beside the others as NAME.int8.onnx; give
--split to measure their accuracy.

examples:
  one file for onnxruntime
    vtn export published/MINE --format onnx --output mine.onnx
    vtn predict mine.onnx video.mp4

  backbone and encoder in a folder, for long videos
    vtn export published/MINE --parts backbone encoder --output exported
    vtn predict exported film.mp4 --window 10 --stride 5

  8-bit weights as well, with the accuracy of all forms on the videos of a list
    vtn export published/MINE --parts backbone encoder --int8 --split data/test.csv --output exported

  an archive of torch.export, which can run code and so must be trusted
    vtn export published/MINE --format torch-export --output mine.pt2
    vtn predict mine.pt2 video.mp4 --trust-code
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from slowfast.cli.commands import make_parser
from slowfast.cli.options import output_file, positive_integer
from slowfast.errors import InputError, SlowFastError
from slowfast.exit_status import run_command
from vtn.cli.model_options import add_list_options, add_source_options

PROGRAM = "vtn export"
STANDARD_OUTPUT = "-"
# Format -> suffix of its files; vtn.exporting has them, too, but takes seconds to import.
_SUFFIXES = {"torch-export": ".pt2", "onnx": ".onnx"}


def build_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = make_parser(__doc__, program, PROGRAM)
    parser.add_argument("source", metavar="SOURCE", help="weights with their configuration")
    parser.add_argument(
        "--output", required=True, metavar="FILE", help="file to write; with --parts a folder"
    )
    parser.add_argument(
        "--format",
        choices=tuple(_SUFFIXES),
        default="onnx",
        help="onnx for onnxruntime and others, or torch-export for torch (default: onnx)",
    )
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=("backbone", "encoder"),
        default=[],
        help="a file per part (default: one file for all)",
    )
    parser.add_argument("--int8", action="store_true", help="also write ONNX files with 8-bit weights")
    add_list_options(parser, "on which accuracies are measured")
    parser.add_argument(
        "--lengths",
        type=positive_integer,
        nargs="+",
        default=[1, 16, 250, 4096],
        metavar="N",
        help="numbers of frames that are compared (default: 1 16 250 4096)",
    )
    parser.add_argument(
        "--json",
        type=output_file(standard_output=True),
        default="",
        metavar="FILE",
        help="write the report to this file; - prints it",
    )
    add_source_options(parser)
    return parser


def main(argv: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """Runs the command line and returns the exit status."""
    parser = build_parser(program)
    args = parser.parse_args(argv)
    _check(parser, args)
    return run_command(parser.prog, lambda: _export(args, parser.prog), expected=(SlowFastError, OSError))


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.parts:
        if Path(args.output).is_file():
            parser.error(f"--output {args.output}: is a file; with --parts name a folder")
    else:
        try:
            output_file(_SUFFIXES[args.format])(args.output)
        except argparse.ArgumentTypeError as problem:
            other = next((name for name, suffix in _SUFFIXES.items() if args.output.endswith(suffix)), "")
            remedy = f"; for this name give --format {other}" if other not in ("", args.format) else ""
            parser.error(f"--output {problem} for one file of --format {args.format}{remedy}")
    if args.int8 and args.format != "onnx":
        parser.error(f"--int8: needs --format onnx, but it is {args.format}")
    if args.split and len(args.parts) == 1:
        parser.error("--split: needs frames to scores; give both --parts, or none")


def _export(args: argparse.Namespace, program: str) -> int:
    """Exports, prints and writes the report; returns the exit status."""
    from vtn.cli.predict_videos import log_to_stderr
    from vtn.exported.files import is_exported
    from vtn.exporting.export import ExportRequest, export_model
    from vtn.predictor.source import load_source

    log_to_stderr(logging.INFO)
    request = ExportRequest(
        output=args.output,
        format=args.format,
        parts=tuple(args.parts),
        int8=args.int8,
        test_split=args.split,
        separator=args.separator,
        prefix=args.prefix,
        lengths=tuple(args.lengths),
    )
    if is_exported(args.source):
        raise InputError(f"{args.source}: is exported already; give the weights that it was exported from")
    model = load_source(args.source, config=args.cfg, imports=args.imports, backbone=args.backbone)
    report = export_model(model, request, source=args.source, show_progress=True)
    print(report.to_json() if args.json == STANDARD_OUTPUT else report.describe())
    if args.json and args.json != STANDARD_OUTPUT:
        report.write(args.json)
        print(f"\nreport: {args.json}")
    if args.int8 and not args.split:
        has_several = model.evaluation.get("MODEL.HEAD_ACT") == "sigmoid"
        remedy = ", since lists of several labels per video are not read" if has_several else "; give --split"
        print(f"{program}: the accuracy of the 8-bit files was not measured{remedy}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
