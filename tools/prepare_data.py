#!/usr/bin/env python3
"""Prepares and checks data sets; see ``python tools/prepare_data.py --help``."""

import sys

import _checkout  # noqa: F401

from slowfast.preparation.command_line import main

if __name__ == "__main__":
    sys.exit(main())
