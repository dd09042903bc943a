"""Benchmarks of speed and memory, for a checkout of the repository.

Every comparison runs its candidates in turn in one process, so that a slow moment of the computer affects
all of them.

examples:
  slowfast benchmark temporal
  slowfast benchmark temporal --help
  slowfast benchmark temporal --json temporal.json
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from slowfast.cli.commands import choose_module
from slowfast.cli.options import add_json_option
from slowfast.exit_status import EXIT_ERROR, run_command

PROGRAM = "slowfast benchmark"
# Files of benchmarks; other folders, and the module ``measure``, hold what several benchmarks use.
PATTERNS = ("benchmarks/[!_]*.py", "benchmarks/learning/[!_]*.py")


def find_checkout() -> Path | None:
    """Returns the checkout that this package lies in, else the current folder if it is one, else None."""
    for root in (Path(__file__).resolve().parents[2], Path.cwd()):
        if (root / "benchmarks" / "measure.py").is_file():
            return root
    return None


def find_benchmarks(root: Path) -> dict[str, str]:
    """Returns name -> module of all benchmarks; a name has dashes where its file has underscores."""
    files = {path.stem: path.relative_to(root) for pattern in PATTERNS for path in root.glob(pattern)}
    return {
        name.replace("_", "-"): ".".join(file.with_suffix("").parts)
        for name, file in sorted(files.items())
        if name != "measure"
    }


def main(argv: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """Runs the command line and returns the exit status."""
    root = find_checkout()
    if root is None:
        return _print_where_benchmarks_are(program, sys.argv[1:] if argv is None else argv)
    sys.path.insert(0, str(root))
    module, parser, rest = choose_module(program, find_benchmarks(root), argv, doc=__doc__, command=PROGRAM)
    add_json_option(parser, "the measurements")
    args = parser.parse_args(rest)

    def work() -> int:
        report = module.run(args)
        print(report)
        if args.json:
            report.write_json(args.json)
        return 0

    return run_command(parser.prog, work)


def _print_where_benchmarks_are(program: str, argv: Sequence[str]) -> int:
    """Answers a call outside of a checkout, and returns the exit status: 0 where only help was asked for."""
    message = (
        f"{program}: the benchmarks are part of the repository and not of the installed package; "
        "clone the repository and run this command in its folder"
    )
    if {"-h", "--help"} & set(argv):
        print(f"{__doc__}\n{message}")
        return 0
    print(message, file=sys.stderr)
    return EXIT_ERROR


if __name__ == "__main__":
    sys.exit(main())
