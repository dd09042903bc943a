"""The examples in docstrings give the results that they show."""

from __future__ import annotations

import ast
import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {"slowfast": ROOT / "slowfast", "vtn": ROOT / "projects" / "vtn" / "vtn"}


def _modules_with_examples() -> list[str]:
    found = []
    for package, folder in SOURCES.items():
        for path in sorted(folder.rglob("*.py")):
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            kinds = ast.Module | ast.ClassDef | ast.FunctionDef
            if any(">>> " in (ast.get_docstring(node) or "") for node in nodes if isinstance(node, kinds)):
                parts = path.relative_to(folder).with_suffix("").parts
                found.append(".".join([package, *(part for part in parts if part != "__init__")]))
    return found


@pytest.mark.parametrize("module", _modules_with_examples())
def test_examples_of_a_module(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    results = doctest.testmod(importlib.import_module(module), optionflags=flags)
    assert results.attempted > 0
    assert results.failed == 0
