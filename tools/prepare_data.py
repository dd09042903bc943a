#!/usr/bin/env python3
"""Prepares and checks data sets; see ``python tools/prepare_data.py --help``."""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("slowfast") is None:
    # A checkout that is not installed.
    sys.path.append(str(Path(__file__).resolve().parents[1]))

from slowfast.cli.prepare import main

if __name__ == "__main__":
    sys.exit(main())
