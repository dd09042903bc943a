"""The report of a sub-command: lines for the terminal, values for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from slowfast.files import write_text

if TYPE_CHECKING:
    from slowfast.preparation.file_work.video_facts import VideoFacts

# Videos of variable frame rate that a report names.
_MAX_NAMED = 20


class BadFile(NamedTuple):
    """A file that cannot be used.

    Attributes:
        path: the file.
        problem: short class of the failure.
        detail: description of the failure; empty where the problem says all.
    """

    path: str
    problem: str
    detail: str = ""


def describe_bad(bad: Iterable[tuple[str, str, str]]) -> list[str]:
    """Returns a line per file that cannot be used, of its path, its problem and the detail, if it has one."""
    return [f"{path}: {problem}" + (f" ({detail})" if detail else "") for path, problem, detail in bad]


def count_problems(problems: Iterable[str]) -> dict[str, int]:
    """Returns problem -> number of files, most frequent first."""
    return dict(Counter(problem for problem in problems if problem).most_common())


def list_bad(bad: Sequence[BadFile]) -> dict[str, Any]:
    """Returns the values of a report on files that cannot be used: their problems, and each file."""
    return {
        "problems": count_problems(file.problem for file in bad),
        "bad": [file._asdict() for file in bad],
    }


def list_variable_rates(facts: Sequence[VideoFacts]) -> list[str]:
    """Returns lines that name the videos of variable frame rate; they are valid, and sampled by time."""
    variable = [fact.path for fact in facts if fact.variable_rate]
    if not variable:
        return []
    more = [f"  … and {len(variable) - _MAX_NAMED} more"] if len(variable) > _MAX_NAMED else []
    return [
        f"variable frame rate, sampled by time: {len(variable)}",
        *(f"  {path}" for path in variable[:_MAX_NAMED]),
        *more,
    ]


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
