"""Model zoo: published models, their accuracy, and how to use their weights.

examples:
  the list of all models
    slowfast zoo

  one model: where its weights are, how they are evaluated and used
    slowfast zoo VIT_B_VTN
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from slowfast.cli.commands import make_parser
from slowfast.errors import SlowFastError
from slowfast.exit_status import run_command

PROGRAM = "slowfast zoo"


def build_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = make_parser(__doc__, program, PROGRAM)
    parser.add_argument("model", nargs="?", default="", metavar="CONFIG", help="configuration of a model")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the zoo to this file, as Markdown")
    return parser


def main(argv: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """Runs the command line and returns the exit status."""
    parser = build_parser(program)
    args = parser.parse_args(argv)

    def work() -> int:
        from slowfast.files import write_text
        from vtn.publishing.zoo import read_zoo
        from vtn.publishing.zoo_page import describe_model, render_table, render_zoo_page

        entries = read_zoo()
        if args.page:
            write_text(args.page, render_zoo_page(entries))
        else:
            print(describe_model(entries, args.model) if args.model else render_table(entries))
        return 0

    return run_command(program, work, expected=(SlowFastError, OSError))


if __name__ == "__main__":
    sys.exit(main())
