#!/usr/bin/env python3
"""The command ``slowfast submit`` of a checkout; see ``python tools/submit.py --help``."""

import sys
from importlib.util import find_spec

if find_spec("slowfast") is None:
    # The command starts further processes, which do not find the packages of this checkout by themselves.
    sys.exit("tools/submit.py: install the package first: pip install -e '.[slurm]'")

from slowfast.cli.submit import main

if __name__ == "__main__":
    sys.exit(main(program="python tools/submit.py"))
