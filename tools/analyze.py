#!/usr/bin/env python3
"""Looks into models and results; see ``python tools/analyze.py --help``."""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("slowfast") is None:
    # A checkout that is not installed: the packages lie beside this folder, and no entry point names them.
    ROOT = Path(__file__).resolve().parents[1]
    sys.path += [str(ROOT), str(ROOT / "projects" / "vtn")]
    from slowfast.registry import announce_project

    announce_project("vtn", "vtn.project:PROJECT")

from slowfast.cli.analyze import main

if __name__ == "__main__":
    sys.exit(main())
