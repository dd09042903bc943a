"""The command line of data preparation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from slowfast.cli.prepare import main


def prepare(*arguments: str | Path) -> dict[str, Any]:
    """Runs a sub-command and returns its report."""
    report = Path(arguments[1]).parent / "report.json"
    assert main([*map(str, arguments), "--json", str(report)]) == 0
    return json.loads(report.read_text())
