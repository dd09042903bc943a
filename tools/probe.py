#!/usr/bin/env python3
"""The command ``slowfast probe`` of a checkout; see ``python tools/probe.py --help``."""

import runpy
from pathlib import Path

run = runpy.run_path(str(Path(__file__).with_name("_checkout.py")))["run"]

if __name__ == "__main__":
    run("slowfast.cli.probe", tool="probe.py")
