"""The tests marked ``gpu``, run by pytest in a process of its own, and their results."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.gpu import results_plugin
from benchmarks.gpu.commands import run_for
from benchmarks.gpu.results_plugin import TestResult, read_results

# Seconds for one test, by a thread that ends the process: a hung kernel lets no other code of it run.
_SECONDS_PER_TEST = 120
# Exit codes of a pytest that has run all tests, or had none left; the first two may also be those of a test.
_IS_COMPLETE = (0, 1, 5)


def run_tests(output: Path, seconds: float, folder: str = "tests/gpu") -> list[TestResult]:
    """Runs the tests for at most that time; writes the output of pytest beside the results.

    Where a test ends the process, or leaves a device that fails from then on, another process runs those that
    remain. Where the time does not suffice, the results of the tests that have ended are returned.

    Args:
        output: folder, gets ``tests.jsonl`` and ``tests.log``.
        folder: of the tests.
    """
    until = time.monotonic() + seconds
    file, log = output / "tests.jsonl", output / "tests.log"
    for path in (file, log):
        path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-v", "--tb=short", "-m", "gpu", folder]
    command += ["-p", "no:cacheprovider", "-p", results_plugin.__name__, f"--results={file.resolve()}"]
    command += [f"--timeout={_SECONDS_PER_TEST}", "--timeout-method=thread"]
    results: dict[str, TestResult] = {}
    while True:
        code = run_for(command, log, until - time.monotonic())
        known, results = len(results), read_results(file)
        found = [*results.values()]
        if code in _IS_COMPLETE and not (found and found[-1].is_unended):
            return found
        if code is None:
            detail = f"not finished in time, see {log.name}"
            return [*found, TestResult("all other tests", seconds=seconds, detail=detail)]
        if len(results) == known:
            last = (log.read_text().strip().splitlines() or ["no output"])[-1]
            return [*found, TestResult("all other tests", detail=f"pytest ended: {last} (see {log.name})")]
