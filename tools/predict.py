#!/usr/bin/env python3
"""Classifies a video of any length; see ``python tools/predict.py --help``."""

import sys

import _checkout  # noqa: F401

from vtn.predict import main

if __name__ == "__main__":
    sys.exit(main())
