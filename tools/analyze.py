#!/usr/bin/env python3
"""Looks into models and results; see ``python tools/analyze.py --help``."""

import sys

import _checkout  # noqa: F401

from slowfast.analysis.command_line import main

if __name__ == "__main__":
    sys.exit(main())
