"""Publication of a training checkpoint: weights, and everything needed to apply them.

Writes FOLDER/NAME-<hash>.pyth, which is accepted wherever weights are named, and the folder FOLDER/NAME in
the form of the Hugging Face hub. Both hold class names, the normalisation of frames and a hash of the
weights. Of the configuration, only what describes the model and its evaluation is kept: the optimiser's
state, the paths of this computer and the progress of training are left out.

examples:
  the last checkpoint of a training run; configuration and class names are in it
    vtn publish output/mine/checkpoints/checkpoint_epoch_00010.pyth published --name MINE

  a file of weights alone, with its configuration and class names
    vtn publish weights.pyth published --cfg VIT_B_VTN --class-names classes.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from slowfast.cli.commands import make_parser
from slowfast.errors import SlowFastError
from slowfast.exit_status import run_command
from vtn.cli.model_options import add_source_options

PROGRAM = "vtn publish"


def build_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = make_parser(__doc__, program, PROGRAM)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint of a training run, or weights")
    parser.add_argument("output", metavar="FOLDER", help="folder to write to")
    parser.add_argument("--name", default="", help="name of the published model (default: the checkpoint's)")
    parser.add_argument(
        "--class-names",
        default="",
        metavar="FILE",
        help="file of class names: JSON (name -> index, index -> name, or a list) or text with one name per "
        "line (default: the names in the checkpoint)",
    )
    add_source_options(parser)
    return parser


def main(argv: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """Runs the command line and returns the exit status."""
    parser = build_parser(program)
    args = parser.parse_args(argv)
    return run_command(parser.prog, lambda: _publish(args), expected=(SlowFastError, OSError))


def _publish(args: argparse.Namespace) -> int:
    """Publishes and prints the files; returns the exit status."""
    from vtn.publishing.publish import publish

    published = publish(
        args.checkpoint,
        args.output,
        name=args.name,
        config=args.cfg,
        class_names_path=args.class_names,
        imports=args.imports,
        backbone=args.backbone,
    )
    print(f"{published.checkpoint}\nSHA-256: {published.sha256}")
    if published.folder is not None:
        print(f"folder for the hub: {published.folder}")
    else:
        print(
            "no folder for the hub: the model is not one of vtn, nor a subclass whose constructor takes the "
            "same arguments; the file serves as TEST.CHECKPOINT_FILE_PATH and TRAIN.CHECKPOINT_FILE_PATH",
            file=sys.stderr,
        )
    if not published.class_names:
        print(
            "the checkpoint holds no class names: none were published; give them with --class-names",
            file=sys.stderr,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
