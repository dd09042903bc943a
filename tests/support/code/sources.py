"""Sources of the packages, for tests that look at code."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path


@cache
def parsed(path: Path) -> ast.Module:
    """Returns the syntax tree of a file, which must not be changed."""
    return ast.parse(path.read_text(encoding="utf-8"))
