"""The figures of a run from its log: ``metrics.jsonl``, or ``json_stats:`` lines such as PySlowFast's."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slowfast.errors import DataError
from slowfast.log import METRICS_FILE

MARK = "json_stats: "


@dataclass
class EpochFigures:
    """What a log says of an epoch; None where it says nothing.

    Attributes:
        epoch: from 1.
        loss, top1: of training; ``top1`` in percent.
        val_loss, val_top1: of the validation after it.
        lr: learning rate at its end.
        step_seconds: of a step, waiting for data included.
    """

    epoch: int
    loss: float | None = None
    top1: float | None = None
    val_loss: float | None = None
    val_top1: float | None = None
    lr: float | None = None
    step_seconds: float | None = None


@dataclass
class RunLog:
    """The curves of a run.

    Attributes:
        name: where it was read from.
        epochs: in order. Of an epoch that was run again the last run counts.
        test: the figures of its last test; empty where there was none.
    """

    name: str
    epochs: list[EpochFigures] = field(default_factory=list)
    test: dict[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> EpochFigures | None:
        """The epoch of the highest validation accuracy, the first of equals."""
        validated = [epoch for epoch in self.epochs if epoch.val_top1 is not None]
        return max(validated, key=lambda epoch: epoch.val_top1 or 0.0, default=None)


def read_run_log(path: str | Path) -> RunLog:
    """Reads a run's folder or one of its log files.

    Raises:
        DataError: where there is no log, or none of its lines has figures.
    """
    path = Path(path)
    file = path
    if path.is_dir():
        file = next((f for name in (METRICS_FILE, "stdout.log") if (f := path / name).is_file()), path)
    if not file.is_file():
        raise DataError(f"{path}: there is no log; give a run's OUTPUT_DIR, {METRICS_FILE} or stdout.log")
    log = RunLog(str(path))
    by_epoch: dict[int, EpochFigures] = {}
    for stats in _figures(file):
        kind = stats.get("_type")
        if kind in ("train_epoch", "val_epoch"):
            number = _epoch(stats["epoch"])
            _add(by_epoch.setdefault(number, EpochFigures(number)), kind, stats)
        elif kind == "test_final":
            log.test = stats
    log.epochs = [by_epoch[number] for number in sorted(by_epoch)]
    if not log.epochs and not log.test:
        raise DataError(f"{file}: has no figures of epochs or tests yet")
    return log


def _figures(file: Path) -> Iterator[dict[str, Any]]:
    """The figures of each line that has any; a line that a killed run cut off has none."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            text = line.partition(MARK)[2] if MARK in line else line
            if text.lstrip().startswith("{"):
                try:
                    stats = json.loads(text)
                except ValueError:
                    continue
                yield stats


def _epoch(value: Any) -> int:
    """From ``3`` (metrics.jsonl) or ``"3/25"`` (json_stats)."""
    return int(str(value).partition("/")[0])


def _add(epoch: EpochFigures, kind: str, stats: dict[str, Any]) -> None:
    top1 = None if _number(stats.get("top1_err")) is None else 100.0 - float(stats["top1_err"])
    if kind == "val_epoch":
        epoch.val_loss, epoch.val_top1 = _number(stats.get("loss")), top1
        return
    epoch.loss, epoch.top1 = _number(stats.get("loss")), top1
    epoch.lr, epoch.step_seconds = _number(stats.get("lr")), _number(stats.get("dt"))


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(float(value)) else float(value)
