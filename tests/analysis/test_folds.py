"""A cross-validation from the list to the summary."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from slowfast.analysis.folds import FoldResult, pool_predictions, spread_of
from slowfast.cli.analyze import main as analyze
from slowfast.cli.prepare import main as prepare
from slowfast.cli.run import build_parser as run_parser
from slowfast.cli.run import overrides_from
from slowfast.engine.prediction_file import load_predictions, save_predictions
from slowfast.engine.run import run
from slowfast.errors import ConfigError, DataError
from tests.support.pages.predictions import make_predictions
from tests.support.tiny import tiny_config


@pytest.mark.parametrize("count", [2, 3, 5, 7, 8, 10, 20, 100])
def test_the_interval_of_a_mean_is_that_of_scipy(count: int) -> None:
    values = np.random.default_rng(count).normal(70, 5, count)
    spread = spread_of(values.tolist())
    expected = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=stats.sem(values))
    # Limits of percentages are cut off at 0 and 100.
    assert (spread.low, spread.high) == pytest.approx(np.clip(expected, 0, 100), rel=1e-4)
    assert spread.std == pytest.approx(np.std(values, ddof=1))


@pytest.fixture(scope="module")
def folds(colour_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of three folds of the tiny model, on a list with groups."""
    folder = tmp_path_factory.mktemp("folds")
    lines = (colour_videos / "train.csv").read_text().splitlines()
    listed = [f"{line} g{number // 2}" for number, line in enumerate(lines)]
    (folder / "all.csv").write_text("\n".join(["path label group", *listed]) + "\n")
    assert prepare(["split", str(folder / "all.csv"), str(folder / "data"), "--folds", "3"]) == 0
    for fold in range(3):
        data, output = folder / "data" / f"fold_{fold}", folder / "out" / f"fold_{fold}"
        assert run(tiny_config(data, output, "SOLVER.MAX_EPOCH", 4)) == 0
    return folder


def test_the_summary_has_all_folds_and_all_videos(folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert analyze(["folds", str(folds / "out"), "--json", str(folds / "folds.json")]) == 0
    printed = capsys.readouterr().out
    summary = json.loads((folds / "folds.json").read_text())
    values = [fold["top1_acc"] for fold in summary["folds"]]
    assert len(values) == 3
    assert summary["metrics"]["top1_acc"]["mean"] == pytest.approx(np.mean(values))
    videos = len((folds / "all.csv").read_text().splitlines()) - 1
    assert summary["pooled"]["videos"] == sum(fold["videos"] for fold in summary["folds"]) == videos
    assert summary["pooled"]["groups"] == len({line.split()[-1] for line in (folds / "all.csv").open()}) - 1
    assert summary["folds"][0]["groups"] < summary["folds"][0]["videos"]
    assert f"all {videos} videos: top-1" in printed
    assert f"over {summary['pooled']['groups']} groups of videos" in printed
    assert "spread" in printed


def test_segments_of_one_file_are_tested_by_one_fold(tmp_path: Path) -> None:
    results = []
    for number, path in enumerate(("0.mp4", "1.mp4", "0.mp4")):
        segments = make_predictions(np.eye(2), [0, 1], ["a", "b"], paths=[path] * 2)
        save_predictions(tmp_path / f"{number}.npz", segments)
        results.append(FoldResult(number, {}, tmp_path / f"{number}.npz"))
    pooled = pool_predictions(results[:2], "")
    assert pooled is not None
    assert pooled.paths == ["0.mp4", "0.mp4", "1.mp4", "1.mp4"]
    with pytest.raises(DataError, match=r"the folds 0 and 2 both test 0\.mp4"):
        pool_predictions(results, "")


@pytest.mark.parametrize("lacking", [{}, {"auroc": None}, {"auroc": float("nan")}])
def test_a_metric_that_one_fold_lacks_is_shown_for_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lacking: dict[str, float | None]
) -> None:
    """The test of one class has no AUROC."""
    for number, metrics in enumerate(({"auroc": 0.5}, lacking, {"auroc": 0.75})):
        folder = tmp_path / f"fold_{number}"
        folder.mkdir()
        line = {"_type": "test_final", "videos": 4, "top1_acc": 80.0, "top5_acc": 100.0, **metrics}
        (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    assert analyze(["folds", str(tmp_path), "--json", str(tmp_path / "folds.json")]) == 0
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    assert [row[-1] for row in rows[:5]] == ["AUROC", "0.500", "–", "0.750", "0.625"]
    assert "AUROC: over 2 of 3 folds, since the test of fold 1 has no value" in printed
    summary = json.loads((tmp_path / "folds.json").read_text())["metrics"]
    assert summary["auroc"]["mean"] == 0.625
    assert summary["auroc"]["folds"] == [0, 2]
    assert summary["top1_acc"]["folds"] == [0, 1, 2]


def test_predictions_in_other_orders_of_the_frames_do_not_count(
    folds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run with ``TEST.ORDER_REPORT True`` writes three more files of the same videos."""
    shutil.copytree(folds / "out", tmp_path / "out")
    for fold in range(3):
        file = tmp_path / "out" / f"fold_{fold}" / "predictions.npz"
        for order in ("shuffled", "reversed", "still"):
            shutil.copyfile(file, file.with_stem(f"{file.stem}_{order}"))
    assert analyze(["folds", str(tmp_path / "out")]) == 0
    assert "videos: top-1" in capsys.readouterr().out


def test_the_groups_of_the_list_are_saved_with_the_predictions(folds: Path) -> None:
    predictions = load_predictions(folds / "out" / "fold_0" / "predictions.npz")
    rows = [line.rsplit(maxsplit=2) for line in (folds / "all.csv").read_text().splitlines()[1:]]
    of_path = {path: group for path, _, group in rows}
    assert list(predictions.groups) == [of_path[path] for path in predictions.paths]


def test_a_missing_fold_is_named(folds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fold_1").symlink_to(folds / "out" / "fold_1")
    assert analyze(["folds", str(tmp_path)]) == 1
    assert "lacks fold_0; run it with `slowfast run --fold 0`" in capsys.readouterr().err


def test_a_run_of_a_fold_has_its_lists_and_its_folder(folds: Path) -> None:
    changes = ["DATA.PATH_TO_DATA_DIR", str(folds / "data"), "OUTPUT_DIR", "out"]
    args = run_parser().parse_args(["--cfg", "SLOW_8x8_R50", "--fold", "2", *changes])
    overrides = overrides_from(args)
    assert overrides[-4:] == [
        "DATA.PATH_TO_DATA_DIR",
        repr(str(folds / "data" / "fold_2")),
        "OUTPUT_DIR",
        "'out/fold_2'",
    ]
    args = run_parser().parse_args(["--cfg", "SLOW_8x8_R50", "--fold", "9", *changes])
    with pytest.raises(ConfigError, match=r"--fold 9: .*fold_9 must be a folder of lists"):
        overrides_from(args)
