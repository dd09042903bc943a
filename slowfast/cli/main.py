"""Video recognition: data sets, feature caches, training, testing, analyses.

examples:
  slowfast prepare make-csv data/videos --output data/train.csv
  slowfast run --cfg VIT_B_VTN DATA.PATH_TO_DATA_DIR data
  slowfast analyze log output/mine
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import slowfast
from slowfast.cli.commands import choose_command
from slowfast.exit_status import EXIT_ERROR, reports_foreign_package

PROGRAM = "slowfast"
# Sub-command -> its module, see `slowfast.cli.commands`.
COMMANDS = {
    "run": "slowfast.cli.run",
    "extract": "slowfast.cli.extract",
    "probe": "slowfast.cli.probe",
    "prepare": "slowfast.cli.prepare",
    "analyze": "slowfast.cli.analyze",
    "benchmark": "slowfast.cli.benchmark",
    "submit": "slowfast.cli.submit",
}


# Names that commands of other programs have -> the command that does the same here.
MEANT = {"train": "slowfast run", "test": "slowfast run"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a sub-command of ``slowfast`` and returns its exit status."""
    if reports_foreign_package(PROGRAM):
        return EXIT_ERROR
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = dict(COMMANDS)
    if not arguments or arguments[0] not in commands:
        # Projects are imported only for their own commands and for the list of all.
        from slowfast.registry import projects

        for project in projects():
            commands = {**commands, **project.commands, **COMMANDS}  # a project cannot replace these
    name, rest = choose_command(
        PROGRAM,
        commands,
        arguments,
        doc=__doc__,
        version=f"{PROGRAM} {slowfast.__version__}",
        elsewhere=MEANT,
    )
    return importlib.import_module(commands[name]).main(rest, program=f"{PROGRAM} {name}")


if __name__ == "__main__":
    sys.exit(main())
