#!/usr/bin/env python3
"""Writes MODEL_ZOO.md from projects/vtn/zoo.yaml: the command ``slowfast zoo --page`` of a checkout."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The zoo of this checkout, also where another copy of the package is installed.
sys.path[:0] = [str(ROOT), str(ROOT / "projects" / "vtn")]

from vtn.cli.zoo import main  # noqa: E402

if __name__ == "__main__":
    page = str(ROOT / "MODEL_ZOO.md")
    sys.exit(main(["--page", page, *sys.argv[1:]], program="python tools/model_zoo.py"))
