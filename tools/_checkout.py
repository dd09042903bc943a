"""Makes the packages of this checkout importable where none is installed; each tool runs this file first."""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("slowfast") is None:
    ROOT = Path(__file__).resolve().parents[1]
    sys.path += [str(ROOT), str(ROOT / "projects" / "vtn")]
    from slowfast.registry import announce_project

    # No entry point announces the project of a checkout that is not installed.
    announce_project("vtn", "vtn.project:PROJECT")
