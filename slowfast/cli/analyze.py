"""Analyses of models, runs and predictions.

Each analysis prints a table and can write its numbers to a file.

examples:
  slowfast analyze flops --cfg VIT_B_VTN --frames 250
  slowfast analyze log output/mine
  slowfast analyze predictions output/mine/predictions.npz
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from slowfast.cli.commands import choose_module
from slowfast.exit_status import run_command
from slowfast.registry import projects

PROGRAM = "slowfast analyze"
# Sub-command -> its module.
ANALYSES = {
    "flops": "slowfast.analysis.flops",
    "folds": "slowfast.analysis.folds",
    "log": "slowfast.analysis.log",
    "predictions": "slowfast.analysis.predictions",
}


def find_analyses() -> dict[str, str]:
    """Returns name of a sub-command -> module, for the analyses of the framework and of all projects.

    An analysis is a module whose docstring is its help, with ``add_arguments(parser)`` and
    ``run(args) -> int``, which prints and returns the exit status. A project names its own in
    ``Project.analyses``. No analysis is imported here.
    """
    found = dict(ANALYSES)
    for project in projects():
        found.update(project.analyses)
    return dict(sorted(found.items()))


def main(argv: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """Runs the command line and returns the exit status."""
    module, parser, rest = choose_module(program, find_analyses(), argv, doc=__doc__, command=PROGRAM)
    args = parser.parse_intermixed_args(rest)
    return run_command(parser.prog, lambda: module.run(args))


if __name__ == "__main__":
    sys.exit(main())
