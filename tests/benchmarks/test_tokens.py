"""The benchmark of several tokens per frame: its rows, its record, and a complete run with few videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import tokens
from benchmarks.support import recorded_steps
from benchmarks.support.recorded_steps import CommandFailedError, StepRecord, run_timed
from slowfast.errors import DataError
from slowfast.features.cache import Manifest
from tests.support.code.command_line import parse
from vtn.backbones.efficientnet_lite0 import PACKAGE
from vtn.quickstart.dataset import DatasetSettings, generate_dataset

# Widths of the recipe: encoder, feed-forward layer, head, classes, and those of the last and the fourth map.
D, INNER, HEAD, CLASSES, LAST, FOURTH = 128, 512, 128, 8, 1280, 112
QUERIES = 4


def linear(inputs: int, outputs: int) -> int:
    return outputs * (inputs + 1)


def encoder_and_head() -> int:
    """Parameters behind the projection to width D: [CLS], types and norm of tokens, layers, head."""
    layer = 7 * linear(D, D) + linear(D, INNER) + linear(INNER, D) + 2 * 2 * D
    head = 2 * D + linear(D, HEAD) + linear(HEAD, CLASSES)
    return D + 2 * D + 2 * D + 2 * layer + head


@pytest.mark.parametrize(
    ("row", "before", "per_frame"),
    [
        ("pooled", linear(LAST, D), 1),
        ("pooled-32", linear(LAST, 32) + linear(32, D), 1),
        ("2x2", linear(LAST, 32) + linear(4 * 32, D), 1),
        ("3x3", linear(LAST, 32) + linear(9 * 32, D), 1),
        ("stage-6x6", linear(FOURTH, 16) + linear(36 * 16, D), 1),
        ("attend", linear(LAST, D) + 9 * D + QUERIES * D + linear(QUERIES * D, D), 1),
        ("sequence", linear(LAST, D) + 9 * D, 9),
    ],
)
def test_rows_have_the_parameters_of_their_forms(row: str, before: int, per_frame: int) -> None:
    size = tokens.measure_size(tokens.ROWS[row], parse(tokens, "--opts", "VTN.BACKBONE.PRETRAINED", "False"))
    assert size["encoder tokens per frame"] == per_frame
    # Where the width is D already, as in 2x2, no projection is needed.
    projection = linear(4 * 32, D) if row == "2x2" else 0
    assert size["learnable, M"] * 1e6 == pytest.approx(before - projection + encoder_and_head())


def test_a_recorded_step_is_not_repeated_and_other_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    results = iter([{"top-1": 50.0}])
    assert StepRecord(path, {"epochs": 20}).result("a", lambda: next(results)) == {"top-1": 50.0}
    assert StepRecord(path, {"epochs": 20}).result("a", lambda: next(results)) == {"top-1": 50.0}
    with pytest.raises(DataError, match="another epochs; choose another --output"):
        StepRecord(path, {"epochs": 10})


def test_a_failed_command_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CommandFailedError, match="ended with status 2"):
        run_timed("zipfile", ["--no-such-option"], tmp_path / "folder")


def test_an_interrupted_command_has_no_seconds(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    first = run_timed("zipfile", ["--create", str(tmp_path / "a.zip"), str(tmp_path)], folder)
    assert first is not None
    assert first > 0
    folder.mkdir()
    assert run_timed("zipfile", ["--create", str(tmp_path / "a.zip"), str(tmp_path)], folder) is None


@pytest.mark.faults
def test_a_complete_run_extracts_once_per_choice_of_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(PACKAGE, reason=f"{PACKAGE} is not installed; it is in the extra 'pretrained-demo'")
    generate_dataset(tmp_path / "data", DatasetSettings(train=32, val=8, test=8), workers=1)
    output = tmp_path / "output"
    given = ("--data", str(tmp_path / "data"), "--output", str(output), "--epochs", "1", "--seeds", "1", "2")
    args = parse(tokens, *given, "--rows", "3x3", "sequence", "--opts", "DATA_LOADER.NUM_WORKERS", "0")
    modules: list[str] = []
    timed = run_timed

    def counted(module: str, *rest: Any) -> float | None:
        modules.append(module)
        return timed(module, *rest)

    for module_with_it in (tokens, recorded_steps):
        monkeypatch.setattr(module_with_it, "run_timed", counted)
    report = tokens.run(args)
    assert modules.count("slowfast.cli.extract") == 1
    assert modules.count("slowfast.cli.run") == 4
    rows = {row["row"]: row for row in report.rows}
    assert rows["3x3"].keys() == rows["sequence"].keys() == {*tokens.COLUMNS, "top-1 per seed"}
    assert Manifest.read(output / "features" / "3x3").row_shape == (9, 1280)
    assert rows["3x3"]["cache MB"] == rows["sequence"]["cache MB"] > 10
    for row in report.rows:
        assert row["seeds"] == 2
        assert all(0 <= top1 <= 100 for top1 in row["top-1 per seed"].values())
        assert row["training s"] > 0
    report.write_json(tmp_path / "table.json")
    assert json.loads((tmp_path / "table.json").read_text())["rows"] == report.rows
    assert tokens.run(args).rows == report.rows  # from the record
    assert len(modules) == 5
