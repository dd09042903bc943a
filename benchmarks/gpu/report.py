"""All results in one JSON file and one page of tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.measurements import Measurement
from benchmarks.gpu.results_plugin import TestResult
from benchmarks.measure import text_of_cell
from slowfast.errors import counted


@dataclass
class GpuReport:
    """The results of all tests and benchmarks.

    Attributes:
        machine: conditions of the measurement, see ``benchmarks.measure.describe_machine``.
        tests, benchmarks: their results.
        seconds: duration of everything.
    """

    machine: dict[str, str]
    tests: Sequence[TestResult]
    benchmarks: list[Measurement] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def has_failed(self) -> bool:
        """Returns whether a test or benchmark has failed."""
        results: list[TestResult | Measurement] = [*self.tests, *self.benchmarks]
        return any(result.outcome == "failed" for result in results)

    def write(self, output: Path) -> None:
        """Writes ``gpu.json`` and ``gpu.md`` into the folder."""
        (output / "gpu.json").write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        (output / "gpu.md").write_text(self.as_markdown(), encoding="utf-8")

    def as_markdown(self) -> str:
        """Returns the machine, a table of the tests, and a table of each benchmark."""
        outcomes = [test.outcome for test in self.tests]
        counts = ", ".join(f"{outcomes.count(kind)} {kind}" for kind in ("passed", "failed", "skipped"))
        lines = [
            "# GPU checks",
            "",
            "; ".join(f"{key}: {value}" for key, value in self.machine.items()),
            "",
            f"Tests: {counts}. Total time: {self.seconds:.0f} s.",
            "",
            *_table(("test", "result", "seconds", "values"), self._test_rows()),
        ]
        for found in self.benchmarks:
            report = found.report
            lines += ["", f"## {found.name}: {found.outcome}, {found.seconds:.0f} s", ""]
            lines += [text for text in (found.detail, report.get("title")) if text]
            if report:
                columns = report["columns"]
                lines += ["", *_table(columns, ([row.get(key) for key in columns] for row in report["rows"]))]
                lines += ["", *(f"- {note}" for note in report["notes"])]
        return "\n".join(lines) + "\n"

    def _test_rows(self) -> Iterator[Sequence[Any]]:
        """Yields the rows of the tests: skipped ones by their reason, all others one by one."""
        skipped = Counter(test.detail for test in self.tests if test.outcome == "skipped")
        for test in self.tests:
            if test.outcome != "skipped":
                values = "; ".join(f"{name}: {value}" for name, value in test.measured.items())
                name = test.name.rpartition("/")[2]
                yield name, test.outcome, test.seconds, "; ".join(filter(None, (test.detail, values)))
        for reason, count in skipped.items():
            yield counted(count, "test"), "skipped", None, reason


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *(map(_cell, row) for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(value: Any) -> str:
    return text_of_cell(value).replace("|", "\\|").replace("\n", " ")
