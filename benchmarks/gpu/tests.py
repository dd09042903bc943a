"""The tests marked ``gpu``, run by pytest in a process of its own, and their results."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.gpu.paths import ROOT, environment


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


def run_tests(output: Path, seconds: float) -> list[TestResult]:
    """Runs the tests for at most that time; writes the output of pytest beside the results.

    Args:
        output: folder, gets ``tests.xml`` and ``tests.log``.
    """
    report, log = output / "tests.xml", output / "tests.log"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "tests/gpu", "-p", "no:cacheprovider"]
    command += [f"--junitxml={report}", "-o", "junit_family=xunit1"]
    with log.open("w") as file:
        try:
            subprocess.run(
                command, cwd=ROOT, env=environment(), stdout=file, stderr=subprocess.STDOUT, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return [TestResult("all tests", "failed", seconds, f"not finished in time, see {log.name}")]
    if not report.exists():
        return [TestResult("all tests", "failed", 0.0, f"pytest did not start, see {log.name}")]
    return read_results(report)


def read_results(report: Path) -> list[TestResult]:
    """Returns the results in a report in JUnit's format, as pytest writes it."""
    return [_read_case(case) for case in ElementTree.parse(report).iter("testcase")]


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
