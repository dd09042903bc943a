"""The benchmark of the search: a complete run with few random videos, in this process."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.learning import probe
from tests.support.code.command_line import parse

SMALL = [
    "--limit", "24", "--rows", "6", "--width", "8", "--classes", "2", "--candidates", "2", "--folds", "2",
    "--runs", "1", "--workers", "1", "--opts", "DATA_LOADER.NUM_WORKERS", "0",
]  # fmt: skip


def test_both_ways_are_measured_on_the_same_number_of_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def run_here(module: str, command: Sequence[str], folder: Path) -> float:
        calls.append(module)
        assert importlib.import_module(module).main(command) == 0
        return 0.0

    monkeypatch.setattr(probe, "run_timed", run_here)
    report = probe.run(parse(probe, *SMALL))
    assert calls == ["slowfast.cli.probe", "slowfast.cli.run"]
    one_by_one, search = report.rows
    assert one_by_one["trainings"] == search["trainings"] == 4  # VTN and FrameAverage on two folds
    assert search["seconds"] > 0
    assert search["speed-up"] == pytest.approx(one_by_one["seconds"] / search["seconds"])
    assert one_by_one["speed-up"] == pytest.approx(1)


def test_the_features_have_classes(tmp_path: Path) -> None:
    probe.write_features(parse(probe, *SMALL), tmp_path)
    lines = (tmp_path / "train.csv").read_text().splitlines()
    assert [line.rsplit(" ", 1)[1] for line in lines] == ["0", "1"] * 12
    assert len(list(tmp_path.glob("*.npy"))) == 24
