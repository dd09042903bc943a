"""Progress is a bar on a terminal and log lines elsewhere."""

import logging

import pytest

from slowfast.progress import Progress, format_duration


def test_without_a_terminal_there_are_lines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Progress(4, "epoch 3", "step", interval=0.0) as progress:
        progress.update(loss=0.123456)
        progress.update(3, loss=1, phase="end")
    first, last = (record.getMessage() for record in caplog.records)
    assert first.startswith("epoch 3: 1/4 (25%)")
    assert "step/s" in first
    assert "loss 0.1235" in first
    assert "ETA 0:00:00" in last
    assert last.endswith("loss 1, phase end")


def test_lines_come_no_faster_than_the_interval(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Progress(1000, "epoch 3", interval=60.0) as progress:
        for _ in range(1000):
            progress.update()
    assert caplog.records == []


def test_disabled_it_only_counts(caplog: pytest.LogCaptureFixture) -> None:
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


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (3725.4, "1:02:05")])
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
