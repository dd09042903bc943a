"""What a sub-command reports: lines for people, values for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slowfast.files import write_text


@dataclass(frozen=True)
class Report:
    """The result of a sub-command.

    Attributes:
        lines: of text.
        values: what json can hold.
    """

    lines: list[str]
    values: dict[str, Any]

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def write_json(self, path: str | Path) -> None:
        write_text(path, json.dumps(self.values, indent=2, ensure_ascii=False) + "\n")
