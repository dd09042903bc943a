"""The tests marked ``gpu``, run by pytest in a process of its own, and their results."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.gpu.paths import run_for


@dataclass(frozen=True)
class TestResult:
    """The result of one test.

    Attributes:
        name: of module and test.
        outcome: ``passed``, ``failed`` or ``skipped``.
        seconds: duration.
        detail: the reason of a skip or failure, one line.
        measured: values that the test has recorded.
    """

    __test__ = False  # pytest takes classes of this name for tests

    name: str
    outcome: str
    seconds: float
    detail: str = ""
    measured: dict[str, str] = field(default_factory=dict)


def run_tests(output: Path, seconds: float, folder: str = "tests/gpu") -> list[TestResult]:
    """Runs the tests for at most that time; writes the output of pytest beside the results.

    Where the time does not suffice, the results of the tests that have ended are returned.

    Args:
        output: folder, gets ``tests.xml`` and ``tests.log``.
        folder: of the tests.
    """
    report, log = output / "tests.xml", output / "tests.log"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-v", "-m", "gpu", folder, "-p", "no:cacheprovider"]
    command += [f"--junitxml={report}", "-o", "junit_family=xunit1"]
    is_complete = run_for(command, log, seconds)
    results = read_results(report) if report.exists() else []
    if not is_complete:
        left = TestResult("all other tests", "failed", seconds, f"not finished in time, see {log.name}")
        return [*results, left]
    if results:
        return results
    last = (log.read_text().strip().splitlines() or ["no output"])[-1]
    return [TestResult("all tests", "failed", 0.0, f"pytest ended without results: {last} (see {log.name})")]


def read_results(report: Path) -> list[TestResult]:
    """Returns the results in a report in JUnit's format, as pytest writes it."""
    # A test that was ended has a case without a name.
    return [_read_case(case) for case in ElementTree.parse(report).iter("testcase") if case.get("name")]


def _read_case(case: ElementTree.Element) -> TestResult:
    outcome, detail = "passed", ""
    for child in case:
        if child.tag in ("failure", "error", "skipped"):
            outcome = "skipped" if child.tag == "skipped" else "failed"
            detail = next(iter(child.get("message", "").splitlines()), "")
    measured = {item.get("name", ""): item.get("value", "") for item in case.iter("property")}
    module = case.get("classname", "").rpartition(".")[2].removeprefix("test_")
    name = case.get("name", "").removeprefix("test_").replace("_", " ")
    return TestResult(f"{module}: {name}", outcome, float(case.get("time", 0)), detail, measured)
