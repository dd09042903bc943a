"""Log lines on the terminal and in files, and metrics for programs."""

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from slowfast import log
from slowfast.log import (
    close_logging,
    get_logger,
    log_file,
    log_json_stats,
    log_once,
    log_to_file,
    setup_logging,
)


@pytest.fixture(autouse=True)
def _closed_at_the_end() -> Iterator[None]:
    yield
    close_logging()


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_rank_0_writes_to_the_terminal_and_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(tmp_path / "run")
    get_logger("slowfast.somewhere").info("it begins")
    assert "slowfast.somewhere: it begins" in capsys.readouterr().out
    assert "[INFO] slowfast.somewhere: it begins" in lines_of(tmp_path / "run" / "stdout.log")[0]


def test_a_command_without_standard_output_writes_its_log(tmp_path: Path) -> None:
    """Python has no ``sys.stdout`` after ``>&-``."""
    program = (
        "from slowfast.exit_status import run_command\n"
        "from slowfast.log import log_json_stats, setup_logging\n"
        f"setup_logging({str(tmp_path)!r})\n"
        "raise SystemExit(run_command('program', lambda: log_json_stats({'loss': 0.5}) or 0))\n"
    )
    command = ["sh", "-c", '"$0" -c "$1" >&-', sys.executable, program]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stderr == ""
    assert '"loss": 0.5' in (tmp_path / "stdout.log").read_text()


def test_lines_on_a_terminal_have_the_time_alone_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Date, level and module took up to 63 of 80 columns; the file has them."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    setup_logging(tmp_path)
    get_logger("slowfast.somewhere").info("it begins")
    get_logger("slowfast.somewhere").warning("a video is truncated")
    logging.getLogger("a_library.part").warning("something is deprecated")
    shown = [line.partition(" ") for line in capsys.readouterr().out.splitlines()]
    assert [text for _, _, text in shown] == [
        "it begins",
        "WARNING: a video is truncated",
        "WARNING: a_library.part: something is deprecated",
    ]
    for time, _, _ in shown:
        assert re.fullmatch(r"\d\d:\d\d:\d\d", time)
    kept = [line.partition("]")[2] for line in lines_of(tmp_path / "stdout.log")]
    assert kept[:2] == [
        "[INFO] slowfast.somewhere: it begins",
        "[WARNING] slowfast.somewhere: a video is truncated",
    ]


def test_without_a_folder_lines_go_to_the_terminal_only(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(None)
    get_logger("slowfast.somewhere").info("it begins")
    log_to_file("printed by another process")
    assert capsys.readouterr().out.endswith("it begins\n")
    assert log_file() is None


def test_a_terminal_that_lacks_a_character_shows_its_escape(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    setup_logging(None)
    get_logger("slowfast.somewhere").info("Zoë.mp4: 64 × 48")
    assert capsys.readouterr().err == ""
    terminal.seek(0)
    assert terminal.read().endswith(r"Zo\xeb.mp4: 64 \xd7 48" + "\n")


def test_a_line_for_the_file_only_is_not_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging(tmp_path)
    log_to_file("100 % of the disk is full")
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""
    (line,) = lines_of(tmp_path / "stdout.log")
    assert line.endswith("[ERROR] slowfast.log: 100 % of the disk is full")


def test_other_ranks_write_to_their_own_file_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(tmp_path, rank=3)
    get_logger("slowfast.somewhere").info("here too")
    log_json_stats({"_type": "train_iter", "loss": 0.5})
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""
    assert [path.name for path in tmp_path.iterdir()] == ["stdout_rank3.log"]
    assert "here too" in lines_of(tmp_path / "stdout_rank3.log")[0]


def test_other_libraries_log_warnings_but_no_information(tmp_path: Path) -> None:
    setup_logging(tmp_path)
    logging.getLogger("another.library").info("chatter")
    logging.getLogger("another.library").warning("beware")
    (line,) = lines_of(tmp_path / "stdout.log")
    assert "beware" in line


def test_a_line_appears_once_per_run(tmp_path: Path) -> None:
    logger = get_logger("slowfast.somewhere")
    for run in ("first", "second"):
        setup_logging(tmp_path / run)
        for level in (logging.INFO, logging.WARNING):
            log_once(logger, "100 % of the frames", level)
        (line,) = lines_of(tmp_path / run / "stdout.log")
        assert "[INFO] slowfast.somewhere: 100 % of the frames" in line


def test_lines_of_very_many_files_are_bounded_and_hide_no_other_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_MOST_LOGGED", 3)
    setup_logging(tmp_path)
    for file in range(9):
        log_once(get_logger("slowfast.videos"), f"{file}.mp4")
    log_once(get_logger("slowfast.engine"), "another line")
    lines = lines_of(tmp_path / "stdout.log")
    assert [line.rpartition(" ")[2] for line in lines] == ["0.mp4", "1.mp4", "2.mp4", "line"]


def test_a_resumed_run_continues_its_files_without_repeated_lines(tmp_path: Path) -> None:
    for message in ("first", "second"):
        setup_logging(tmp_path)
        get_logger("slowfast.somewhere").info(message)
        log_json_stats({"message": message})
    assert len(lines_of(tmp_path / "stdout.log")) == 4
    assert len(lines_of(tmp_path / "metrics.jsonl")) == 2


def test_metrics_after_a_line_that_a_full_disk_cut_off_stay_readable(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text('{"_type": "train_iter", "loss": 0.1}\n{"_type": "tra')
    setup_logging(tmp_path)
    for loss in (0.2, 0.3):
        log_json_stats({"_type": "train_iter", "loss": loss})
    first, cut, *later = lines_of(metrics)
    assert (json.loads(first)["loss"], cut) == (0.1, '{"_type": "tra')
    assert [json.loads(line)["loss"] for line in later] == [0.2, 0.3]


def test_metrics_are_rounded_in_log_lines_and_exact_in_the_metrics_file(tmp_path: Path) -> None:
    setup_logging(tmp_path)
    log_json_stats(
        {
            "_type": "train_iter",
            "loss": 1 / 3,
            "lr": np.float32(0.001),
            "iter": np.int64(7),
            "epoch": "1/25",
            "eta": float("nan"),
            "per_class": np.array([0.5, np.nan]),
        }
    )
    (line,) = lines_of(tmp_path / "stdout.log")
    shown = (
        '{"_type": "train_iter", "epoch": "1/25", "eta": NaN, "iter": 7, "loss": 0.33333, '
        '"lr": 0.00100, "per_class": [0.50000, NaN]}'
    )
    assert line.endswith(f"json_stats: {shown}")
    stats = json.loads(lines_of(tmp_path / "metrics.jsonl")[0])
    assert stats["loss"] == 1 / 3
    assert stats["eta"] is None
    assert stats["per_class"] == [0.5, None]
    assert (stats["iter"], stats["epoch"]) == (7, "1/25")
    assert stats["lr"] == pytest.approx(0.001)


def test_a_terminal_shows_no_lines_for_scripts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They hid the sentences of a training run; pipes and stdout.log have them."""
    setup_logging(tmp_path)
    log_json_stats({"_type": "train_epoch", "loss": 1.0})
    assert "json_stats: " in capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    log_json_stats({"_type": "val_epoch", "loss": 0.5})
    assert capsys.readouterr().out == ""
    assert lines_of(tmp_path / "stdout.log")[1].endswith(
        '[INFO] slowfast.log: json_stats: {"_type": "val_epoch", "loss": 0.50000}'
    )
    assert len(lines_of(tmp_path / "metrics.jsonl")) == 2


def test_names_that_are_not_utf_8_are_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without pytest's handlers, whose copy of the line cannot be sent to the process that reports.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    setup_logging(tmp_path)
    logging.getLogger("slowfast").warning("broken: %s", os.fsdecode(b"clip_\xff.mp4"))
    close_logging()
    assert lines_of(tmp_path / "stdout.log")[-1].endswith(r"broken: clip_\udcff.mp4")
    assert "Logging error" not in capfd.readouterr().err


def test_names_of_files_do_not_act_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list from elsewhere could clear the screen, or show other text than the line holds."""
    setup_logging(tmp_path)
    get_logger("slowfast").warning("broken: %s", "a\x1b[2J\r\u202eb\xa0c.mp4\nby hand")
    written = "broken: a\\x1b[2J\\r\\u202eb\xa0c.mp4\nby hand\n"
    assert capsys.readouterr().out.endswith(written)
    assert (tmp_path / "stdout.log").read_text(encoding="utf-8").endswith(written)


def test_a_closed_terminal_ends_its_lines_only(tmp_path: Path) -> None:
    """The reader of ``slowfast run | head`` goes; the run and its file continue, and nothing is printed."""
    code = (
        "import sys\n"
        "from slowfast.exit_status import run_command\n"
        "from slowfast.log import get_logger, setup_logging\n"
        f"setup_logging({str(tmp_path)!r})\n"
        "def work():\n"
        "    for i in range(2000):\n"
        "        get_logger('slowfast.x').info('line %d', i)\n"
        "    print('result')\n"
        "    return 0\n"
        "sys.exit(run_command('prog', work))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "line 0" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert lines_of(tmp_path / "stdout.log")[-1].endswith("line 1999")
