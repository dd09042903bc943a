"""All results in one JSON file and one table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.measurements import Measurement
from benchmarks.gpu.tests import TestResult


@dataclass(frozen=True)
class GpuReport:
    """The results of all tests and benchmarks.

    Attributes:
        machine: conditions of the measurement, see ``benchmarks.measure.describe_machine``.
        tests, benchmarks: their results.
        seconds: duration of everything.
    """

    machine: dict[str, str]
    tests: Sequence[TestResult]
    benchmarks: Sequence[Measurement]
    seconds: float

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
        """Returns the machine, the counts, and one table of tests and measurements."""
        outcomes = [test.outcome for test in self.tests]
        counts = ", ".join(f"{outcomes.count(kind)} {kind}" for kind in ("passed", "failed", "skipped"))
        lines = [
            "# GPU checks",
            "",
            "; ".join(f"{key}: {value}" for key, value in self.machine.items()),
            "",
            f"Tests: {counts}. Total time: {self.seconds:.0f} s.",
            "",
            "| what | result | seconds | values |",
            "| --- | --- | ---: | --- |",
            *(_line(*row) for row in self._rows()),
        ]
        return "\n".join(lines) + "\n"

    def _rows(self) -> Iterator[tuple[str, str, float | None, str]]:
        """Yields the rows of the table: skipped tests by their reason, all others one by one."""
        skipped: dict[str, int] = {}
        for test in self.tests:
            if test.outcome == "skipped":
                skipped[test.detail] = skipped.get(test.detail, 0) + 1
            else:
                yield f"test {test.name}", test.outcome, test.seconds, _values(test.measured) or test.detail
        for reason, count in skipped.items():
            yield f"{count} tests", "skipped", None, reason
        for measurement in self.benchmarks:
            what = f"benchmark {measurement.name}"
            yield what, measurement.outcome, measurement.seconds, measurement.detail
            for row in measurement.report.get("rows", []):
                yield what, "measured", None, _values(row)


def _line(what: str, result: str, seconds: float | None, values: str) -> str:
    cells = (what, result, "" if seconds is None else f"{seconds:.1f}", values)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _values(values: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}: {_text(value)}" for name, value in values.items())


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
