"""``slowfast analyze log`` of several runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slowfast.cli.analyze import main as analyze
from slowfast.log import METRICS_FILE


def write_tests(folder: Path, **metrics: list[float | None]) -> list[str]:
    """Writes the logs of runs whose tests have these metrics, and returns their folders."""
    runs = []
    for number, values in enumerate(zip(*metrics.values(), strict=True)):
        (run := folder / str(number)).mkdir()
        test = {"_type": "test_final", **dict(zip(metrics, values, strict=True))}
        (run / METRICS_FILE).write_text(json.dumps(test) + "\n")
        runs.append(str(run))
    return runs


def test_the_tests_of_several_runs_have_mean_and_standard_deviation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = write_tests(
        tmp_path, top1_acc=[70.0, 80.0, 75.0], top5_acc=[1.0, None, 2.0], auroc=[0.5, 0.5, 0.8]
    )
    assert analyze(["log", *runs]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "mean ± standard deviation of 3 tests: top-1 75.0 ± 5.0 %, AUROC 0.600 ± 0.173"
    assert analyze(["log", runs[0]]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "  test: top-1 70.00 %"


def test_the_mean_names_the_keys_in_which_the_runs_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = write_tests(tmp_path, top1_acc=[70.0, 80.0])
    config = (
        "OUTPUT_DIR: {run}\nRNG_SEED: {seed}\nDATA: {{PATH_TO_DATA_DIR: fold_{seed}}}\nMODEL: {{{model}}}\n"
    )
    for seed, run in enumerate(runs):
        text = config.format(run=run, seed=seed, model="MODEL_NAME: VTN")
        Path(run, "config.yaml").write_text(text)
    assert analyze(["log", *runs]) == 0
    assert "deviation of 2 tests: top-1 75.0" in capsys.readouterr().out
    text = config.format(run=runs[1], seed=1, model="MODEL_NAME: FrameAverage, A: 1, B: 2, C: 3")
    Path(runs[1], "config.yaml").write_text(text)
    assert analyze(["log", *runs]) == 0
    differ = "that differ in MODEL.MODEL_NAME, MODEL.A, MODEL.B and 1 more key: top-1 75.0"
    assert f"deviation of 2 tests {differ}" in capsys.readouterr().out
