"""Preparation of data sets: lists, broken videos, smaller copies, splits, shards, statistics.

Ctrl-C keeps the results so far; the same command continues from there.

examples:
  a list of the videos in one folder per class, without those that cannot be decoded
    slowfast prepare make-csv data/videos --output data/all.csv
    slowfast prepare scan data/all.csv --clean data/clean.csv
  divide it into three parts
    slowfast prepare split data/clean.csv data --shares train=0.8 val=0.1 test=0.1
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from slowfast.cli.commands import choose_module
from slowfast.cli.options import add_json_option
from slowfast.errors import SlowFastError
from slowfast.exit_status import run_command
from slowfast.log import printable, setup_logging

PROGRAM = "slowfast prepare"
# Sub-command -> module that has add_arguments(parser) and run(args) -> CommandReport.
COMMANDS = {
    "scan": "slowfast.preparation.scan",
    "resize": "slowfast.preparation.resize",
    "make-csv": "slowfast.preparation.make_csv",
    "split": "slowfast.preparation.split",
    "shard": "slowfast.preparation.shard",
    "stats": "slowfast.preparation.stats",
}


def main(argv: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """Runs the command line; returns 0: done, 1: not done, 2: wrong arguments, 130: interrupted."""
    module, parser, rest = choose_module(program, COMMANDS, argv, doc=__doc__, command=PROGRAM)
    add_json_option(parser, "the report")
    args = parser.parse_args(rest)
    setup_logging(None)

    def work() -> int:
        report = module.run(args)
        print(printable(str(report)))
        if args.json:
            report.write_json(args.json)
        return 0

    return run_command(
        parser.prog,
        work,
        expected=(SlowFastError, OSError),
        if_interrupted="interrupted; the same command continues from here",
    )


if __name__ == "__main__":
    sys.exit(main())
