#!/usr/bin/env python3
"""Makes of a training checkpoint what others can use; see ``python tools/publish.py --help``."""

import sys

import _checkout  # noqa: F401

from vtn.publish import main

if __name__ == "__main__":
    sys.exit(main())
