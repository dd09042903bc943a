#!/usr/bin/env python3
"""The command ``slowfast zoo`` of a checkout; ``--page MODEL_ZOO.md`` writes the page."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The zoo of this checkout, also where another copy of the package is installed.
sys.path[:0] = [str(ROOT), str(ROOT / "projects" / "vtn")]

from vtn.cli.zoo import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(program="python tools/model_zoo.py"))
