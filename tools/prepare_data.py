#!/usr/bin/env python3
"""The command ``slowfast prepare`` of a checkout; see ``python tools/prepare_data.py --help``."""

import runpy
import sys
from pathlib import Path

runpy.run_path(str(Path(__file__).with_name("_checkout.py")))

from slowfast.cli.prepare import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(program="python tools/prepare_data.py"))
