"""The command line of data preparation."""

from __future__ import annotations

import argparse
import importlib
import io
import sys
from collections.abc import Sequence

# Sub-command -> module that has EXAMPLES, add_arguments(parser) and run(args) -> Report.
COMMANDS = {
    "scan": "slowfast.preparation.scan",
    "resize": "slowfast.preparation.resize",
    "make-csv": "slowfast.preparation.make_csv",
    "split": "slowfast.preparation.split",
    "stats": "slowfast.preparation.stats",
}


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser with all sub-commands."""
    parser = argparse.ArgumentParser(
        description="Prepares and checks data sets. Each sub-command has its own --help with examples.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module_name in COMMANDS.items():
        module = importlib.import_module(module_name)
        summary = (module.__doc__ or "").strip()
        command = commands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
        command.add_argument("--report", metavar="JSON", help="also write the report as json")
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0: done, 1: not done, 2: wrong arguments, 130: interrupted."""
    parser = build_parser()
    args = parser.parse_args(argv)

    from slowfast.errors import SlowFastError
    from slowfast.exit_status import run_command
    from slowfast.log import setup_logging

    setup_logging(None)
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may be no text
        sys.stdout.reconfigure(errors="backslashreplace")

    def work() -> int:
        report = args.run(args)
        print(report)
        if args.report:
            report.write_json(args.report)
        return 0

    return run_command(
        parser.prog,
        work,
        expected=(SlowFastError, OSError),
        if_interrupted="interrupted; the same command goes on from here",
    )


if __name__ == "__main__":
    sys.exit(main())
