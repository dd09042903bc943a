"""GETTING_STARTED.md: the client of exported files runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[3] / "GETTING_STARTED.md").read_text(encoding="utf-8")


def test_the_client_of_the_page_runs(
    exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder, _ = exported
    (tmp_path / "exported").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    section = PAGE[PAGE.index("### For other runtimes") :]
    program = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert program is not None
    exec(compile(program[1], "GETTING_STARTED.md", "exec"), {})
    assert capsys.readouterr().out.strip() in ("left", "right", "still")
