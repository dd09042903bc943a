"""Extraction of a backbone's features for all frames of a data set.

The features go to the folder DATA.FEATURES, from where training and testing read them instead of videos.
Videos whose features are complete are skipped: after Ctrl-C the same command continues.

examples:
  features of every frame of the videos in train.csv, val.csv and test.csv
    slowfast extract --cfg VIT_B_VTN_FROZEN DATA.PATH_TO_DATA_DIR data/kinetics \\
        DATA.FEATURES data/kinetics_vit_b

  then train and test from the features, with the same configuration
    slowfast run --cfg VIT_B_VTN_FROZEN DATA.PATH_TO_DATA_DIR data/kinetics \\
        DATA.FEATURES data/kinetics_vit_b

  five frames per second, three crops and their mirror images for training, eight processes
    torchrun --nproc_per_node 8 -m slowfast.cli.extract --cfg VIT_B_VTN_FROZEN --crops 3 --flips \\
        DATA.PATH_TO_DATA_DIR data/kinetics DATA.FEATURES data/kinetics_5fps DATA.FEATURES_FPS 5
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence

from slowfast.cli.commands import make_parser
from slowfast.cli.options import positive_integer
from slowfast.cli.run import add_run_arguments, load_run_config, set_thread_environment
from slowfast.errors import ConfigError
from slowfast.exit_status import run_command

PROGRAM = "slowfast extract"
DTYPES = ("float16", "bfloat16", "float32")


def build_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = make_parser(__doc__, program, PROGRAM)
    add_run_arguments(parser)
    parser.add_argument(
        "--dtype", choices=DTYPES, default=DTYPES[0], help="dtype of the stored features (default: float16)"
    )
    parser.add_argument(
        "--checkpoint",
        default="",
        metavar="FILE",
        help="weights of the model (default: TRAIN.CHECKPOINT_FILE_PATH; without both, the backbone's own)",
    )
    parser.add_argument(
        "--crops",
        type=positive_integer,
        default=1,
        metavar="N",
        help="crops per frame of training videos (default: 1)",
    )
    parser.add_argument("--flips", action="store_true", help="store mirror images of the training crops, too")
    parser.add_argument(
        "--short-sides",
        type=positive_integer,
        nargs="+",
        default=[],
        metavar="PIXELS",
        help="short sides of the frames that training crops are cut from (default: the first of "
        "DATA.TRAIN_JITTER_SCALES)",
    )
    parser.add_argument(
        "--whole-pictures",
        action="store_true",
        help="whole pictures of training videos instead of crops, for tests with DATA.TEST_WHOLE_PICTURE",
    )
    return parser


def main(argv: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """Runs the command line and returns the exit status."""
    parser = build_parser(program)
    args = parser.parse_intermixed_args(argv)
    set_thread_environment()

    def work() -> int:
        cfg = load_run_config(args)
        if not cfg.DATA.FEATURES:
            raise ConfigError("DATA.FEATURES = '': must be set; name the folder to which the features go")
        from slowfast.engine.run import run
        from slowfast.extraction.extract import ExtractionRequest, extract_features

        request = ExtractionRequest(
            dtype=args.dtype,
            checkpoint=args.checkpoint or cfg.TRAIN.CHECKPOINT_FILE_PATH,
            short_sides=tuple(args.short_sides),
            crops=args.crops,
            flips=args.flips,
            whole_pictures=args.whole_pictures,
        )
        return run(cfg, args.init_method, work=functools.partial(extract_features, request=request))

    return run_command(parser.prog, work)


if __name__ == "__main__":
    sys.exit(main())
