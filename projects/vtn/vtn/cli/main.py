"""Video Transformer Network: prediction, explanation, a web page, export, publication, and a quickstart.

Training, testing and the preparation of data are commands of slowfast; see slowfast --help.

examples:
  vtn quickstart
  vtn predict published/MINE video.mp4
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import slowfast
from slowfast.cli.commands import choose_command
from slowfast.cli.main import COMMANDS as FRAMEWORK_COMMANDS
from slowfast.cli.main import MEANT
from slowfast.exit_status import EXIT_ERROR, reports_foreign_package

PROGRAM = "vtn"
# Sub-command -> its module, see `slowfast.cli.commands`.
COMMANDS = {
    "explain": "vtn.cli.explain",
    "export": "vtn.cli.export",
    "predict": "vtn.cli.predict",
    "publish": "vtn.cli.publish",
    "quickstart": "vtn.cli.quickstart",
    "serve": "vtn.cli.serve",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a sub-command of ``vtn`` and returns its exit status."""
    if reports_foreign_package(PROGRAM):
        return EXIT_ERROR
    name, rest = choose_command(
        PROGRAM,
        COMMANDS,
        argv,
        doc=__doc__,
        version=f"{PROGRAM} {slowfast.__version__}",
        elsewhere={**MEANT, **{name: f"slowfast {name}" for name in FRAMEWORK_COMMANDS}},
    )
    return importlib.import_module(COMMANDS[name]).main(rest, program=f"{PROGRAM} {name}")


if __name__ == "__main__":
    sys.exit(main())
