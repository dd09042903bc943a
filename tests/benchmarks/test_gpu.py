"""`make gpu`: results of tests and benchmarks in one table, also where there is no GPU or no time."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.gpu import measurements
from benchmarks.gpu.commands import ROOT
from benchmarks.gpu.measurements import Measurement, Plan, run_benchmarks
from benchmarks.gpu.report import GpuReport
from benchmarks.gpu.results_plugin import TestResult
from benchmarks.gpu.tests import run_tests
from slowfast.distributed.device import choose_device, is_cpu

SAMPLE = """
import os
import pytest
import torch

pytestmark = pytest.mark.gpu

@pytest.fixture
def broken():
    raise OSError("no driver")

def test_that_passes(record_property):
    record_property("clips/s", "12.5")

def test_that_fails():
    assert 1 == 2, "first line\\nsecond line"

def test_whose_fixture_fails(broken):
    pass

@pytest.mark.skip(reason="needs two GPUs")
def test_that_is_skipped():
    pass

def test_that_ends_the_process():
    os._exit(0)

def test_that_breaks_the_device():
    raise ValueError("the step failed") from torch.AcceleratorError("an illegal access")

def test_that_needs_the_device():
    pass
"""


@pytest.mark.faults  # it runs pytest three times
def test_each_result_is_kept_and_the_next_process_continues(tmp_path: Path) -> None:
    """After a test that ends the process, and one after which the device of the process fails every call."""
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    results = run_tests(tmp_path, seconds=200, folder=str(tmp_path))
    found = {one.name.partition("::test_")[2]: (one.outcome, one.detail) for one in results}
    assert found == {
        "that_passes": ("passed", ""),
        "that_fails": ("failed", "AssertionError: first line"),
        "whose_fixture_fails": ("failed", "OSError: no driver"),
        "that_is_skipped": ("skipped", "needs two GPUs"),
        "that_ends_the_process": ("failed", "did not end, see tests.log"),
        "that_breaks_the_device": ("failed", "ValueError: the step failed"),
        "that_needs_the_device": ("passed", ""),
    }
    assert results[0].measured == {"clips/s": "12.5"}
    assert "second line" in results[1].traceback
    assert (tmp_path / "tests.log").read_text().count("test session starts") == 3


@pytest.mark.faults  # it runs pytest a second time
@pytest.mark.skipif(not is_cpu(choose_device(1)), reason="this machine has a GPU, whose tests take minutes")
def test_without_a_gpu_all_tests_are_skipped_and_the_report_says_why(tmp_path: Path) -> None:
    results = run_tests(tmp_path, seconds=200)
    assert len(results) > 20
    assert {result.outcome for result in results} == {"skipped"}
    report = GpuReport({"torch": "2"}, results, [], 1.0)
    assert f"| {len(results)} tests | skipped | – | needs a GPU" in report.as_markdown()
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


@pytest.mark.faults  # it waits for the end of the time
@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN], ids=["front", "background"])
def test_where_the_time_does_not_suffice_the_results_so_far_are_kept(
    tmp_path: Path, handler: Any, request: pytest.FixtureRequest
) -> None:
    """Also in the background of a script, where interrupts are ignored."""
    before = signal.signal(signal.SIGINT, handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    (tmp_path / "test_long.py").write_text(LONG)
    passed, unended, others = run_tests(tmp_path, seconds=20, folder=str(tmp_path))
    assert (passed.outcome, unended.outcome) == ("passed", "failed")
    assert unended.name.endswith("test_long.py::test_that_does_not_end")
    assert (others.name, others.outcome) == ("all other tests", "failed")
    assert others.detail == "not finished in time, see tests.log"


def test_the_report_is_one_page_and_one_json_file(tmp_path: Path) -> None:
    tests = [
        TestResult("tests/gpu/test_parity.py::test_cases[a]", "passed", 1.25, "", {"difference": "1e-6"}),
        TestResult("tests/gpu/test_parity.py::test_ddp", "skipped", detail="needs two GPUs"),
    ]
    rows = [{"frames": 16, "ours": 1.23456789}, {"frames": 250}]
    shown = {"title": "encoder", "columns": ["frames", "ours"], "rows": rows, "notes": ["ours: ms"]}
    benchmarks = [
        Measurement("temporal", "measured", 3.0, report=shown),
        Measurement("inference", "failed", 2.0, "a | b"),
    ]
    report = GpuReport({"gpu": "H100"}, tests, benchmarks, 6.0)
    report.write(tmp_path)
    expected = """\
# GPU checks

gpu: H100

Tests: 1 passed, 0 failed, 1 skipped. Total time: 6 s.

| test | result | seconds | values |
| --- | --- | --- | --- |
| test_parity.py::test_cases[a] | passed | 1.25 | difference: 1e-6 |
| 1 test | skipped | – | needs two GPUs |

## temporal: measured, 3 s

encoder

| frames | ours |
| --- | --- |
| 16 | 1.23 |
| 250 | – |

- ours: ms

## inference: failed, 2 s

a | b
"""
    assert (tmp_path / "gpu.md").read_text() == expected
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["benchmarks"][0]["report"]["rows"] == rows
    assert report.has_failed


@pytest.mark.faults  # it starts benchmarks in processes of their own
def test_benchmarks_that_fail_or_get_no_time_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = "--lengths 16 --training --dtypes float32 float1 --rounds 1"
    plans = (Plan("inference", "inference", "", "--no-such-option"), Plan("temporal", "temporal", "", few))
    monkeypatch.setattr(measurements, "PLANS", plans)
    failed, partial = run_benchmarks(tmp_path, "cpu", until=time.monotonic() + 100)
    assert failed.outcome == "failed"
    assert "--no-such-option" in failed.detail
    assert (partial.outcome, [row["dtype"] for row in partial.report["rows"]]) == ("failed", ["float32"])
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
