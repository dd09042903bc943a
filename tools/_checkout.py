"""Imported by the tools before all else: a checkout that is not installed is made importable."""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("slowfast") is None:
    # The packages lie beside this folder, and no entry point names them.
    ROOT = Path(__file__).resolve().parents[1]
    sys.path += [str(ROOT), str(ROOT / "projects" / "vtn")]
    from slowfast.registry import announce_project

    announce_project("vtn", "vtn.project:PROJECT")
