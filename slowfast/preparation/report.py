"""The report of a sub-command: lines for the terminal, values for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slowfast.files import write_text


def describe_bad(bad: Iterable[tuple[str, str, str]]) -> list[str]:
    """Returns a line per file that cannot be used, of its path, its problem and the detail, if it has one."""
    return [f"{path}: {problem}" + (f" ({detail})" if detail else "") for path, problem, detail in bad]


@dataclass(frozen=True)
class CommandReport:
    """The result of a sub-command.

    Attributes:
        lines: text for the terminal.
        values: the same for JSON.
    """

    lines: list[str]
    values: dict[str, Any]

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def write_json(self, path: str | Path) -> None:
        """Writes the values as JSON."""
        write_text(path, json.dumps(self.values, indent=2, ensure_ascii=False) + "\n")
