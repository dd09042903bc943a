"""`make gpu`: results of tests and benchmarks in one table, also where there is no GPU or no time."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.gpu import measurements
from benchmarks.gpu.measurements import Measurement, Plan, run_benchmarks
from benchmarks.gpu.paths import ROOT
from benchmarks.gpu.report import GpuReport
from benchmarks.gpu.tests import TestResult, read_results, run_tests
from slowfast.distributed.device import choose_device, is_cpu

SAMPLE = """
import pytest

def test_that_passes(record_property):
    record_property("clips/s", "12.5")

def test_that_fails():
    assert 1 == 2, "first line\\nsecond line"

@pytest.mark.skip(reason="needs two GPUs")
def test_that_is_skipped():
    pass
"""


def test_results_of_pytest_are_read_with_reasons_and_values(tmp_path: Path) -> None:
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    report = tmp_path / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    subprocess.run([*command, "-o", "junit_family=xunit1", tmp_path], capture_output=True, cwd=tmp_path)
    passed, failed, skipped = read_results(report)
    assert (passed.name, passed.outcome) == ("sample: that passes", "passed")
    assert passed.measured == {"clips/s": "12.5"}
    assert (failed.outcome, failed.detail) == ("failed", "AssertionError: first line")
    assert (skipped.outcome, skipped.detail) == ("skipped", "needs two GPUs")


@pytest.mark.faults  # it runs pytest a second time
@pytest.mark.skipif(not is_cpu(choose_device(1)), reason="this machine has a GPU, whose tests take minutes")
def test_without_a_gpu_all_tests_are_skipped_and_the_report_says_why(tmp_path: Path) -> None:
    results = run_tests(tmp_path, seconds=200)
    assert len(results) > 20
    assert {result.outcome for result in results} == {"skipped"}
    report = GpuReport({"torch": "2"}, results, [], 1.0)
    assert f"| {len(results)} tests | skipped |  | needs a GPU" in report.as_markdown()
    assert not report.has_failed


LONG = """
import time
import pytest

pytestmark = pytest.mark.gpu

def test_that_passes():
    pass

def test_that_does_not_end():
    time.sleep(600)
"""


FATAL = """
import os
import pytest

@pytest.mark.gpu
def test_that_ends_the_process():
    os._exit(3)
"""


@pytest.mark.faults  # it waits for the end of the time
@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN], ids=["front", "background"])
def test_where_the_time_does_not_suffice_the_results_so_far_are_kept(
    tmp_path: Path, handler: Any, request: pytest.FixtureRequest
) -> None:
    """Also in the background of a script, where interrupts are ignored."""
    before = signal.signal(signal.SIGINT, handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    (tmp_path / "test_long.py").write_text(LONG)
    passed, others = run_tests(tmp_path, seconds=20, folder=str(tmp_path))
    assert (passed.name, passed.outcome) == ("long: that passes", "passed")
    assert (others.name, others.outcome) == ("all other tests", "failed")
    assert others.detail == "not finished in time, see tests.log"


@pytest.mark.faults  # it runs pytest a second time
def test_the_test_that_ends_the_process_is_named(tmp_path: Path) -> None:
    (tmp_path / "test_fatal.py").write_text(FATAL)
    (result,) = run_tests(tmp_path, seconds=100, folder=str(tmp_path))
    assert (result.name, result.outcome) == ("all tests", "failed")
    assert "pytest ended without results: " in result.detail
    assert "test_that_ends_the_process" in result.detail


def test_the_report_is_one_table_and_one_json_file(tmp_path: Path) -> None:
    tests = [TestResult("parity: golden", "passed", 1.25, measured={"largest difference": "1e-6"})]
    rows = [{"frames": 16, "ours": 1.23456789}, {"frames": 250, "ours": 4.0}]
    benchmarks = [
        Measurement("temporal", "measured", 3.0, report={"rows": rows}),
        Measurement("inference", "failed", 2.0, "a | b"),
    ]
    report = GpuReport({"gpu": "H100"}, tests, benchmarks, 6.0)
    report.write(tmp_path)
    lines = (tmp_path / "gpu.md").read_text().splitlines()
    assert "Tests: 1 passed, 0 failed, 0 skipped. Total time: 6 s." in lines
    assert lines[-5:] == [
        "| test parity: golden | passed | 1.2 | largest difference: 1e-6 |",
        "| benchmark temporal | measured | 3.0 |  |",
        "| benchmark temporal | measured |  | frames: 16; ours: 1.235 |",
        "| benchmark temporal | measured |  | frames: 250; ours: 4 |",
        "| benchmark inference | failed | 2.0 | a \\| b |",
    ]
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["benchmarks"][0]["report"]["rows"] == rows
    assert report.has_failed


@pytest.mark.faults  # it starts benchmarks in processes of their own
def test_benchmarks_that_fail_or_get_no_time_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = (Plan("inference", "inference", "", "--no-such-option"),)
    monkeypatch.setattr(measurements, "PLANS", plans)
    (failed,) = run_benchmarks(tmp_path, "cpu", until=time.monotonic() + 100)
    assert failed.outcome == "failed"
    assert "--no-such-option" in failed.detail
    assert [one.detail for one in run_benchmarks(tmp_path, "cpu", until=0.0)][:1] == ["no time left"]


def test_a_slow_benchmark_leaves_time_for_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, given = 0.0, []

    def take_all(name: str, arguments: tuple[str, ...], output: Path, seconds: float) -> Measurement:
        nonlocal now
        now += seconds
        given.append(seconds)
        return Measurement(name, "failed", seconds)

    monkeypatch.setattr(measurements, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(measurements, "_run", take_all)
    list(run_benchmarks(tmp_path, "cpu", until=200.0))
    assert given == pytest.approx([80, 60, 40, 20])  # the last one finds no time


@pytest.mark.parametrize("plan", measurements.PLANS, ids=lambda plan: plan.name)
def test_every_planned_benchmark_exists_with_its_options(plan: Plan) -> None:
    source = (ROOT / "benchmarks" / f"{plan.benchmark}.py").read_text()
    words = f"{plan.on_gpu} {plan.on_cpu} --device".split()
    options = {word for word in words if word.startswith("--")}
    assert all(f'"{option}"' in source for option in options)
