#!/usr/bin/env python3
"""The command ``slowfast prepare`` of a checkout; see ``python tools/prepare_data.py --help``."""

import runpy
from pathlib import Path

run = runpy.run_path(str(Path(__file__).with_name("_checkout.py")))["run"]

if __name__ == "__main__":
    run("slowfast.cli.prepare", tool="prepare_data.py")
