"""The checkout in which the commands run, and their environment."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment() -> dict[str, str]:
    """Returns the environment of a command: it finds this checkout and asks no model hub."""
    paths = [str(ROOT), str(ROOT / "projects" / "vtn"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "HF_HUB_OFFLINE": "1"}
