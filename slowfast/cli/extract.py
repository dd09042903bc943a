"""The command line that makes a feature cache.

Parsing imports nothing heavy, so that ``--help`` and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Sequence

from slowfast.cli.run import build_parser as build_run_parser
from slowfast.cli.run import overrides_of

DTYPES = ("float16", "bfloat16", "float32")


def build_parser(examples: str = "") -> argparse.ArgumentParser:
    """Returns the parser of the command line, whose help shows ``examples``."""
    parser = build_run_parser(examples)
    parser.description = "Runs a model's backbone on the frames of all videos and keeps what it gives."
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0], help="of the files (default: float16)")
    parser.add_argument(
        "--checkpoint", default="", metavar="F", help="weights (default: TRAIN.CHECKPOINT_FILE_PATH, if any)"
    )
    parser.add_argument("--crops", type=_count, default=1, metavar="N", help="training crops (default: 1)")
    parser.add_argument("--flips", action="store_true", help="also the training crops' mirror images")
    parser.add_argument(
        "--short-sides",
        type=_count,
        nargs="+",
        default=[],
        metavar="N",
        help="of the pictures that training crops are cut from (default: the first of TRAIN_JITTER_SCALES)",
    )
    return parser


def main(argv: Sequence[str] | None = None, *, examples: str = "") -> int:
    """Runs the command line and returns the exit status; ``examples`` are shown by ``--help``."""
    parser = build_parser(examples)
    args = parser.parse_intermixed_args(argv)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from slowfast.config import load_config
    from slowfast.errors import ConfigError
    from slowfast.exit_status import run_command

    def work() -> int:
        cfg = load_config(args.cfg, overrides_of(args))
        if not cfg.DATA.FEATURES:
            raise ConfigError("DATA.FEATURES = '': is not set; name the folder that the features go to")
        from slowfast.engine.run import run
        from slowfast.extraction.extract import ExtractionRequest, extract_features

        request = ExtractionRequest(
            dtype=args.dtype,
            checkpoint=args.checkpoint or cfg.TRAIN.CHECKPOINT_FILE_PATH,
            short_sides=tuple(args.short_sides),
            crops=args.crops,
            flips=args.flips,
        )
        return run(cfg, args.init_method, work=functools.partial(extract_features, request=request))

    return run_command(parser.prog, work)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
