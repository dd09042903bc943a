#!/usr/bin/env python3
"""Makes videos, trains and tests a small VTN on them, writes a report; see ``--help``."""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("slowfast") is None:
    print(f"{Path(__file__).name}: install first: pip install -e '.[quickstart]'", file=sys.stderr)
    sys.exit(1)

from vtn.quickstart.run import main

if __name__ == "__main__":
    sys.exit(main())
