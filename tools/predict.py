#!/usr/bin/env python3
"""The command ``vtn predict`` of a checkout; see ``python tools/predict.py --help``."""

import runpy
from pathlib import Path

run = runpy.run_path(str(Path(__file__).with_name("_checkout.py")))["run"]

if __name__ == "__main__":
    run("vtn.cli.predict", tool="predict.py")
