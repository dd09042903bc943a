#!/usr/bin/env python3
"""The command ``vtn serve`` of a checkout; see ``python tools/serve.py --help``."""

import runpy
import sys
from pathlib import Path

runpy.run_path(str(Path(__file__).with_name("_checkout.py")))

from vtn.cli.serve import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(program="python tools/serve.py"))
