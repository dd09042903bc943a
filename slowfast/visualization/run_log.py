"""The metrics of a run, read from ``metrics.jsonl`` or from ``json_stats:`` lines as in PySlowFast."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from slowfast.errors import DataError
from slowfast.files import parse_json
from slowfast.log import METRICS_FILE

MARK = "json_stats: "
Metric = Literal["top1", "map", "loss"]
Split = Literal["train", "val"]


@dataclass
class EpochMetrics:
    """The metrics of one epoch; None for a metric that the log does not contain.

    Attributes:
        epoch: number of the epoch, from 1.
        loss, top1: of training; ``top1`` in percent.
        val_loss, val_top1: of the validation after the epoch.
        lr: learning rate at the end of the epoch.
        step_seconds: seconds per training step, including the wait for data.
        val_map: mean average precision of the validation, 0 … 1, where videos have several classes.
    """

    epoch: int
    loss: float | None = None
    top1: float | None = None
    val_loss: float | None = None
    val_top1: float | None = None
    lr: float | None = None
    step_seconds: float | None = None
    val_map: float | None = None

    @property
    def val_accuracy(self) -> float | None:
        """``val_top1``, or ``val_map`` where videos have several classes."""
        return self.val_map if self.val_top1 is None else self.val_top1


@dataclass
class RunLog:
    """The metrics of a run.

    Attributes:
        name: path of the log, or a title.
        epochs: in ascending order. If a resumed run repeated an epoch, its later metrics are used.
        steps: training metrics of logged steps by progress in epochs, in ascending order; the keys of the
            metrics are ``loss`` and ``top1`` (percent).
        test: metrics of the last test; empty if the log contains no test.
    """

    name: str
    epochs: list[EpochMetrics] = field(default_factory=list)
    steps: dict[float, dict[str, float | None]] = field(default_factory=dict)
    test: dict[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> EpochMetrics | None:
        """The epoch with the highest validation accuracy; the first of several; None without validation."""
        validated = [epoch for epoch in self.epochs if epoch.val_accuracy is not None]
        return max(validated, key=lambda epoch: epoch.val_accuracy or 0.0, default=None)

    def curve(self, metric: Metric, split: Split) -> list[tuple[float, float]]:
        """Returns the points (epochs done, value) of one metric, in ascending order.

        The training curve has one point per logged step, or per epoch if the log does not contain the
        progress of steps. The validation curve has one point per validation.
        """
        values: Iterator[tuple[float, float | None]]
        if split == "val":
            values = ((float(epoch.epoch), getattr(epoch, f"val_{metric}")) for epoch in self.epochs)
        elif self.steps:
            values = ((progress, metrics.get(metric)) for progress, metrics in self.steps.items())
        else:
            values = ((float(epoch.epoch), getattr(epoch, metric, None)) for epoch in self.epochs)
        return [(progress, value) for progress, value in values if value is not None]


def read_run_log(path: str | Path, name: str = "") -> RunLog:
    """Reads the log of a run.

    Args:
        path: output folder of a run, or a log file.
        name: title of the run; empty: the path.

    Raises:
        DataError: if the folder contains no log, or the log contains no metrics of an epoch or a test, or
            wrong ones.
    """
    path = Path(path)
    file = path
    if path.is_dir():
        file = next((f for name in (METRICS_FILE, "stdout.log") if (f := path / name).is_file()), path)
    if not file.is_file():
        raise DataError(f"{path}: contains no log; give a run's OUTPUT_DIR, {METRICS_FILE} or stdout.log")
    log = RunLog(name or str(path))
    by_epoch: dict[int, EpochMetrics] = {}
    for line, stats in _read_stats(file):
        try:
            _add(log, by_epoch, stats)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise DataError(
                f"{file}, line {line}: lacks a metric, or has one that is not a number; correct the line, "
                "or delete it"
            ) from None
    log.epochs = [by_epoch[number] for number in sorted(by_epoch)]
    log.steps = dict(sorted(log.steps.items()))
    if not log.epochs and not log.test:
        raise DataError(
            f"{file}: contains no metrics of epochs or tests; wait until the run has finished an epoch"
        )
    return log


def _read_stats(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields line number and metrics, without the lines that interrupted runs left incomplete."""
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            text = line.partition(MARK)[2] if MARK in line else line
            if text.lstrip().startswith("{"):
                try:
                    stats = parse_json(text)
                except ValueError:
                    continue
                yield number, stats


def _add(log: RunLog, by_epoch: dict[int, EpochMetrics], stats: dict[str, Any]) -> None:
    """Adds the metrics of a line to a log and its epochs, which have their numbers as keys."""
    kind = stats.get("_type")
    if kind in ("train_epoch", "val_epoch"):
        number = int(str(stats["epoch"]).partition("/")[0])  # 3 in metrics.jsonl, "3/25" in json_stats
        epoch = by_epoch.setdefault(number, EpochMetrics(number))
        if kind == "val_epoch":
            epoch.val_loss, epoch.val_top1 = _number(stats.get("loss")), _top1(stats)
            epoch.val_map = _number(stats.get("map"))
        else:
            epoch.loss, epoch.top1 = _number(stats.get("loss")), _top1(stats)
            epoch.lr, epoch.step_seconds = _number(stats.get("lr")), _number(stats.get("dt"))
    elif kind == "train_iter" and (progress := _number(stats.get("epochs_done"))) is not None:
        log.steps[progress] = {"loss": _number(stats.get("loss")), "top1": _top1(stats)}
    elif "test_final" in (kind, stats.get("split")):  # PySlowFast's line has no kind
        _number(stats.get("top1_acc", stats.get("map")))  # an error for what is not a number
        log.test = stats


def _top1(stats: dict[str, Any]) -> float | None:
    """Returns the top-1 accuracy in percent, or None if the line does not contain the error."""
    error = _number(stats.get("top1_err"))
    return None if error is None else 100.0 - error


def _number(value: Any) -> float | None:
    """Returns a finite value as a float, else None."""
    return None if value is None or not math.isfinite(float(value)) else float(value)
