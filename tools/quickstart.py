#!/usr/bin/env python3
"""The command ``vtn quickstart`` of a checkout; see ``python tools/quickstart.py --help``."""

import sys
from importlib.util import find_spec

if find_spec("slowfast") is None:
    # The command starts further processes, which do not find the packages of this checkout by themselves.
    sys.exit("tools/quickstart.py: install the package first: pip install -e '.[quickstart]'")

from vtn.cli.quickstart import main

if __name__ == "__main__":
    sys.exit(main(program="python tools/quickstart.py"))
