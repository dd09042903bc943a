"""The examples in docstrings of the package are executed."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import vtn

ROOT = Path(vtn.__file__).parent
MODULES = [
    ".".join(["vtn", *path.relative_to(ROOT).with_suffix("").parts])
    for path in sorted(ROOT.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


def test_the_entrances_have_examples() -> None:
    assert {"vtn.model", "vtn.factory", "vtn.frame_model"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_docstrings(module: str) -> None:
    results = doctest.testmod(importlib.import_module(module))
    assert results.attempted > 0
    assert results.failed == 0
