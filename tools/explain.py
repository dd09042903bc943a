#!/usr/bin/env python3
"""The command ``vtn explain`` of a checkout; see ``python tools/explain.py --help``."""

import runpy
from pathlib import Path

run = runpy.run_path(str(Path(__file__).with_name("_checkout.py")))["run"]

if __name__ == "__main__":
    run("vtn.cli.explain", tool="explain.py")
