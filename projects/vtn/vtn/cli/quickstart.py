"""Quickstart: a small VTN, trained and tested on videos made for it, with a report.

Makes videos whose classes differ only in the order of frames. Trains a small VTN, tests it on
whole videos, on other orders of their frames and on several views, trains a baseline that averages frames,
explains the predictions, and writes a report. Takes minutes on two CPU cores. Called again, it continues
where it stopped.

examples:
  all steps; the results go to output/quickstart
    vtn quickstart

  other videos and another initialisation
    vtn quickstart --seed 2 --output output/quickstart_2

  delete an earlier quickstart and start over
    vtn quickstart --fresh
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from slowfast.cli.commands import make_parser
from slowfast.cli.options import integer_from
from slowfast.errors import DataError
from slowfast.exit_status import run_command
from slowfast.log import setup_logging

PROGRAM = "vtn quickstart"


def build_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = make_parser(__doc__, program, PROGRAM)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("output/quickstart"),
        metavar="FOLDER",
        help="folder for videos, weights and report (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=integer_from(0),
        default=1,
        metavar="N",
        help="seed of the videos and of training (default: %(default)s)",
    )
    parser.add_argument("--fresh", action="store_true", help="delete an earlier quickstart in FOLDER first")
    return parser


def main(argv: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """Runs the command line and returns the exit status."""
    parser = build_parser(program)
    args = parser.parse_args(argv)

    # Imported here, so that --help and wrong arguments are answered at once.
    from vtn.quickstart.run import RunFailedError, clear_output, run_quickstart

    setup_logging(None)

    def work() -> int:
        if args.fresh:
            clear_output(args.output)
        try:
            run_quickstart(args.output, args.seed)
        except RunFailedError as error:
            print(f"{program}: {error}", file=sys.stderr)
            return error.status if error.status > 0 else 1
        except (PermissionError, FileExistsError, NotADirectoryError) as error:
            raise DataError(
                f"{args.output}: cannot be written ({error.strerror}: {error.filename}); choose another "
                "folder with --output"
            ) from error
        return 0

    return run_command(program, work, if_interrupted="interrupted; the same command continues from here")


if __name__ == "__main__":
    sys.exit(main())
