"""docs/architecture.svg: the drawing has all packages, and its arrows are the imports of the sources."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_drawing_is_up_to_date() -> None:
    command = [sys.executable, "docs/draw_architecture.py", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_drawing_shows_each_package() -> None:
    drawing = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    for name, folder in (("slowfast", ROOT / "slowfast"), ("vtn", ROOT / "projects" / "vtn" / "vtn")):
        packages = [f"{name}.{path.parent.name}" for path in folder.glob("*/__init__.py")]
        assert [package for package in packages if f">{package}<" not in drawing] == []
