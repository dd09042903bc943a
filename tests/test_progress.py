"""Progress is shown by a bar on a terminal, and by log lines elsewhere."""

import logging
from types import SimpleNamespace

import pytest

from slowfast.log import close_logging, get_logger, setup_logging
from slowfast.progress import Progress, format_duration


def test_without_a_terminal_there_are_lines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Progress(4, "epoch 3", "step", interval=0.0) as progress:
        progress.update(loss=0.123456)
        progress.update(3, loss=1, phase="end")
    first, last = (record.getMessage() for record in caplog.records)
    assert first == "epoch 3: 1/4 (25%), loss 0.1235"
    assert "step/s, ETA 0:00:00" in last
    assert last.endswith("loss 1, phase end")


def test_the_rate_leaves_out_the_start_of_workers_and_units_of_an_earlier_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = iter((0.0, 11.0, 22.0))
    monkeypatch.setattr("slowfast.progress.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with caplog.at_level(logging.INFO), Progress(200, "scan", "video", done=50) as progress:
        progress.update(failed=0)
        progress.update(55, failed=1)
    assert [record.getMessage() for record in caplog.records] == [
        "scan: 51/200 (26%), failed 0",
        "scan: 106/200 (53%), 5.00 video/s, ETA 0:00:19, failed 1",
    ]


def test_the_rate_leaves_out_units_that_are_found_done_on_the_way(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = iter((0.0, 11.0, 22.0))
    monkeypatch.setattr("slowfast.progress.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with caplog.at_level(logging.INFO), Progress(200, "features", "video") as progress:
        progress.update(0, found=50)
        progress.update(11, found=89)
    assert [record.getMessage() for record in caplog.records] == [
        "features: 50/200 (25%)",
        "features: 150/200 (75%), 1.00 video/s, ETA 0:00:50",
    ]


def test_log_lines_are_at_least_the_interval_apart(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Progress(1000, "epoch 3", interval=60.0) as progress:
        for _ in range(1000):
            progress.update()
    assert caplog.records == []


def test_disabled_progress_counts_without_output(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Progress(2, "epoch 3", enabled=False, interval=0.0) as progress:
        progress.update(2)
    assert caplog.records == []
    assert progress.done == 2


def test_on_a_terminal_there_is_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with caplog.at_level(logging.INFO), Progress(2, "epoch 3", "step", interval=0.0) as progress:
        progress.update(2, loss=0.5)
    assert "epoch 3" in capsys.readouterr().err
    assert caplog.records == []


def test_the_rate_of_a_bar_leaves_out_units_that_are_found_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Progress(1_000_000_000, "features", "video") as progress:
        progress.update(0, found=900_000_000)
        progress.update(1)
        assert progress._bar is not None
        shown = progress._bar.format_dict
        counted = shown["n"] - shown["initial"], progress._bar.n - progress._bar.last_print_n
        assert (progress.done, shown["n"]) == (900_000_001, 900_000_001)
        assert max(counted) <= 1, "units of the mean rate and of the newest one"


def test_log_lines_appear_above_the_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    setup_logging(None)
    try:
        with Progress(2, "epoch 3") as progress:
            progress.update()
            capsys.readouterr()
            get_logger("slowfast.somewhere").info("a checkpoint is saved")
            captured = capsys.readouterr()
            assert captured.out.endswith("slowfast.somewhere: a checkpoint is saved\n")
            assert captured.err.startswith("\r")  # the bar is cleared before the line and drawn after it
            assert "epoch 3" in captured.err
        get_logger("slowfast.somewhere").info("after the bar")
        assert "after the bar" in capsys.readouterr().out
    finally:
        close_logging()


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (3725.4, "1:02:05")])
def test_durations_are_hours_minutes_and_seconds(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
