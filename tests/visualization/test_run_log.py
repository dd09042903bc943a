"""Reading the logs of runs: complete and interrupted ones, and those of PySlowFast; the analysis ``log``."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from slowfast.cli.analyze import main
from slowfast.errors import DataError
from slowfast.log import CountOf, close_logging, log_json_stats, setup_logging
from slowfast.visualization.run_log import read_run_log


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Writes the log of a run that repeated its second epoch, with a test and an incomplete line."""
    folder = tmp_path / "run"
    setup_logging(folder)
    for epoch, loss, val_err in ((1, 2.0, 60.0), (2, 9.0, 99.0), (2, 1.5, 30.0), (3, 1.2, 40.0)):
        count = CountOf(epoch, 3)
        log_json_stats(
            {"_type": "train_epoch", "epoch": count, "loss": loss, "top1_err": 50.0, "lr": 0.1, "dt": 0.5}
        )
        log_json_stats({"_type": "val_epoch", "epoch": count, "loss": loss + 1, "top1_err": val_err})
    log_json_stats({"_type": "test_final", "split": "test_final", "top1_acc": 71.25, "top5_acc": 90.0})
    close_logging()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"_type": "train_epoch", "epo')
    return folder


def test_the_test_of_a_pyslowfast_log_is_found_without_a_kind(tmp_path: Path) -> None:
    line = 'json_stats: {"split": "test_final", "top1_acc": "50.00", "top5_acc": "80.00"}'
    (tmp_path / "stdout.log").write_text(f"[11/27 20:00:00][INFO] test_net.py: 123: {line}\n")
    assert read_run_log(tmp_path).test == {"split": "test_final", "top1_acc": "50.00", "top5_acc": "80.00"}


@pytest.mark.parametrize(
    "line",
    [
        '{"_type": "train_epoch", "loss": 1}',
        '{"_type": "val_epoch", "epoch": null}',
        '{"_type": "train_epoch", "epoch": 4, "loss": "x"}',
        '{"_type": "train_epoch", "epoch": 4, "loss": [1]}',
        '{"_type": "train_epoch", "epoch": 4, "loss": 1%s}' % ("0" * 400),
        '{"_type": "train_iter", "epochs_done": "x"}',
        '{"_type": "test_final", "top1_acc": "x"}',
        '{"_type": "test_final", "map": [1]}',
    ],
)
def test_a_line_with_wrong_metrics_is_named(tmp_path: Path, line: str) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"_type": "train_epoch", "epoch": 1, "loss": 1}\n' + line + "\n")
    with pytest.raises(DataError, match=r"metrics\.jsonl, line 2: lacks a metric, or has one that is not"):
        read_run_log(log)


def test_lines_without_metrics_and_a_byte_order_mark_are_skipped(tmp_path: Path) -> None:
    epoch = '{"_type": "train_epoch", "epoch": 1, "loss": 1}\n'
    step = '{"_type": "train_iter", "epochs_done": null, "loss": 1}\n'
    (tmp_path / "metrics.jsonl").write_text("\ufeff" + epoch + step + '{"a":' * 100_000 + "\n", "utf-8")
    log = read_run_log(tmp_path)
    assert [(epoch.epoch, epoch.loss) for epoch in log.epochs] == [(1, 1.0)]
    assert log.steps == {}


@pytest.mark.parametrize("name", ["", "metrics.jsonl", "stdout.log"])
def test_both_log_files_have_the_same_metrics(run_folder: Path, name: str) -> None:
    log = read_run_log(run_folder / name)
    assert [(epoch.epoch, epoch.loss, epoch.val_top1) for epoch in log.epochs] == [
        (1, 2.0, 40.0), (2, 1.5, 70.0), (3, 1.2, 60.0),
    ]  # fmt: skip
    assert log.best is not None
    assert log.best.epoch == 2
    assert float(log.test["top1_acc"]) == 71.25


def test_logs_of_pyslowfast_are_read(tmp_path: Path) -> None:
    log = tmp_path / "stdout.log"
    log.write_text(
        "[07/01 10:00:00][INFO] train_net.py:  1: Train with config:\n{'TRAIN': 1}\n"
        '[07/01 10:01:02][INFO] logging.py: 99: json_stats: {"RAM": "9.99/62.00G", "_type": "train_epoch", '
        '"dt": 0.5, "epoch": "1/25", "eta": "0:12:30", "gpu_mem": "10.0G", "loss": 5.01, "lr": 0.001, '
        '"top1_err": 97.5, "top5_err": 90.0}\n'
        '[07/01 10:02:02][INFO] logging.py: 99: json_stats: {"_type": "val_epoch", "epoch": "1/25", '
        '"min_top1_err": 95.0, "top1_err": 95.0, "top5_err": 85.0}\n'
    )
    (epoch,) = read_run_log(log).epochs
    assert (epoch.loss, epoch.top1, epoch.val_top1, epoch.val_loss) == (5.01, 2.5, 5.0, None)


def test_the_analysis_has_the_average_precision_of_videos_with_several_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        {"_type": kind, "epoch": epoch, "loss": 0.5} | ({"map": value} if kind == "val_epoch" else {})
        for epoch, value in ((1, 0.25), (2, 0.75), (3, 0.5))
        for kind in ("train_epoch", "val_epoch")
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert main(["log", str(tmp_path)]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["epoch", "loss", "val_loss", "val_map"],
        ["1", "0.5", "0.5", "0.25"],
        ["2", "0.5", "0.5", "0.75"],
        ["3", "0.5", "0.5", "0.5"],
        ["best:", "epoch", "2,", "mAP", "0.7500", "on", "the", "validation", "videos"],
    ]


def test_curves_have_steps_of_training_and_epochs_of_validation(tmp_path: Path) -> None:
    lines = [
        {"_type": "train_iter", "epochs_done": 0.5, "loss": 3.0, "top1_err": 95.0},
        {"_type": "train_iter", "epochs_done": 0.25, "loss": 2.5, "top1_err": None},
        {"_type": "val_epoch", "epoch": 1, "loss": 1.5, "top1_err": 70.0},
        {"_type": "val_epoch", "epoch": 2, "loss": None, "top1_err": 60.0},
        # A resumed run that repeats the first epoch.
        {"_type": "train_iter", "epochs_done": 0.5, "loss": 2.0, "top1_err": 90.0},
        {"_type": "val_epoch", "epoch": 1, "loss": 1.0, "top1_err": 50.0},
        {"_type": "test_final", "top1_err": 1.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    log = read_run_log(tmp_path, "a run")
    assert log.name == "a run"
    assert log.curve("loss", "train") == [(0.25, 2.5), (0.5, 2.0)]
    assert log.curve("top1", "train") == [(0.5, 10.0)]
    assert log.curve("loss", "val") == [(1.0, 1.0)]
    assert log.curve("top1", "val") == [(1.0, 50.0), (2.0, 40.0)]


def test_the_training_curve_has_epochs_if_the_log_has_no_steps(run_folder: Path) -> None:
    assert read_run_log(run_folder).curve("loss", "train") == [(1.0, 2.0), (2.0, 1.5), (3.0, 1.2)]


def test_the_command_prints_a_table_and_writes_curves(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("curves.svg", "curves.csv"):
        assert main(["log", str(run_folder), "--output", str(tmp_path / name)]) == 0
    output = capsys.readouterr().out
    assert "best: epoch 2, 70.00 % of the validation videos" in output
    assert "test: top-1 71.25 %" in output
    assert "<svg" in (tmp_path / "curves.svg").read_text()
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert [row["val_top1"] for row in rows] == ["40.0", "70.0", "60.0"]


@pytest.mark.parametrize(("name", "shown"), [("top1_acc", "top-1 –"), ("map", "mAP –")])
def test_a_test_whose_metric_has_no_value_is_shown(
    name: str, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the mean average precision of videos of which none has a class."""
    setup_logging(tmp_path)
    log_json_stats({"_type": "test_final", name: float("nan")})
    close_logging()
    capsys.readouterr()
    for log in (tmp_path, tmp_path / "stdout.log"):
        assert main(["log", str(log)]) == 0
        assert f"test: {shown}\n" in capsys.readouterr().out


def test_long_runs_are_shown_in_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(tmp_path)
    for epoch in range(1, 198):
        count = CountOf(epoch, 197)
        log_json_stats({"_type": "train_epoch", "epoch": count, "loss": 1.0, "lr": 0.1, "dt": 0.5})
        log_json_stats({"_type": "val_epoch", "epoch": count, "loss": 1.0, "top1_err": abs(epoch - 98)})
    close_logging()
    capsys.readouterr()
    assert main(["log", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    epochs = [int(line.split()[0]) for line in lines[2:-2]]
    assert epochs == sorted({*range(1, 198, 10), 98, 197})
    assert lines[-2] == "  22 of 197 epochs; --all prints all"
    assert main(["log", str(tmp_path), "--all"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 1 + 197 + 1


def test_a_folder_without_metrics_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="contains no log; give a run's OUTPUT_DIR"):
        read_run_log(tmp_path)
    (tmp_path / "stdout.log").write_text("nothing yet\n")
    with pytest.raises(DataError, match="contains no metrics of epochs or tests"):
        read_run_log(tmp_path)
