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
    parser = make_parser(__doc__, program, PROGRAM, allow_abbrev=False)
    parser.add_argument("model", nargs="?", default="", metavar="CONFIG", help="configuration of a model")
    parser.add_argument("--page", type=Path, metavar="F", help="write the zoo to this file, as Markdown")
    parser.add_argument(
        "--check", action="store_true", help="with --page: write nothing; exit status 1 if the page is stale"
    )
    return parser


def main(argv: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """Runs the command line and returns the exit status."""
    parser = build_parser(program)
    args = parser.parse_args(argv)
    if args.check and not args.page:
        parser.error("--check: needs --page, the file to check")

    def work() -> int:
        from vtn.publishing.zoo import read_zoo
        from vtn.publishing.zoo_page import describe_model, render_table

        if args.page:
            return _write_page(args.page, check=args.check)
        entries = read_zoo()
        print(describe_model(entries, args.model) if args.model else render_table(entries))
        return 0

    return run_command(program, work, expected=(SlowFastError, OSError))


def _write_page(page: Path, *, check: bool) -> int:
    """Writes the page, or only compares it with the zoo; returns the exit status."""
    from slowfast.files import write_text
    from vtn.publishing.zoo import read_zoo
    from vtn.publishing.zoo_page import render_page

    text = render_page(read_zoo())
    if not check:
        write_text(page, text)
    elif not page.is_file() or page.read_text(encoding="utf-8") != text:
        print(f"{page} is stale; run the same command without --check", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
