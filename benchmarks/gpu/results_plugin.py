"""A plugin of pytest that writes the result of each test at once: a later test may end the process."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
import torch

_UNENDED = "did not end, see tests.log"


@dataclass
class TestResult:
    """The result of one test.

    Attributes:
        name: its id for pytest.
        outcome: ``passed``, ``failed`` or ``skipped``.
        seconds: duration, with that of its fixtures.
        detail: the reason of a skip or failure, one line.
        measured: values that the test has recorded.
        traceback: of a failure, with the output of the test.
    """

    __test__ = False  # pytest takes classes of this name for tests

    name: str
    outcome: str = "failed"
    seconds: float = 0.0
    detail: str = _UNENDED
    measured: dict[str, str] = field(default_factory=dict)
    traceback: str = ""

    @property
    def is_unended(self) -> bool:
        """Whether the process ended first."""
        return self.detail == _UNENDED


def read_results(path: Path) -> dict[str, TestResult]:
    """Returns the results so far by name; a test that ended the process, or did not end, has failed."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    results = (TestResult(**json.loads(line)) for line in lines)
    return {result.name: result for result in results}


class _Writer:
    """The hooks of a session: tests whose results are in the file are not run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._now = TestResult("")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        known = read_results(self._path)
        items[:] = [item for item in items if item.nodeid not in known]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._now = TestResult(nodeid)
        self._write()  # stays the result where the process ends before the test

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        now, error = self._now, call.excinfo
        now.seconds += report.duration
        now.measured = {name: str(value) for name, value in report.user_properties}
        if report.outcome != "passed" and error is not None:
            now.outcome = report.outcome
            text = str(error.value) if report.skipped else error.exconly()
            now.detail = next(iter(text.splitlines()), "")
            shown = [report.longreprtext, *(text for _, text in report.sections)]
            now.traceback = "" if report.skipped else "\n".join(shown)
            if any(isinstance(e, torch.AcceleratorError) for e in (error.value, error.value.__cause__)):
                item.session.shouldstop = "the device works again in a new process only"
        elif report.when == "call":
            now.outcome, now.detail = "passed", ""
        return report

    def pytest_runtest_logfinish(self) -> None:
        self._write()

    def _write(self) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(self._now)) + "\n")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--results", type=Path, help="file that gets the results, one JSON object per line")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Writer(config.getoption("--results")))
