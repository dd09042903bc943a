"""Logging of a run: people read the terminal and ``stdout.log``, programs read ``metrics.jsonl``."""

from __future__ import annotations

import decimal
import json
import logging
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import simplejson
from tqdm import tqdm

METRICS_FILE = "metrics.jsonl"

_LINE_FORMAT = "[%(asctime)s][%(levelname)s] %(name)s: %(message)s"
_TIME_FORMAT = "%m/%d %H:%M:%S"

_handlers: list[logging.Handler] = []
_metrics_path: Path | None = None


class CountOf(int):
    """A whole number that knows what it is of: epoch 3 of 25 is ``CountOf(3, 25)``.

    ``json_stats:`` lines show ``"3/25"`` as PySlowFast's do; ``metrics.jsonl`` has the number 3.
    """

    total: int

    def __new__(cls, value: int, total: int) -> CountOf:
        count = super().__new__(cls, value)
        count.total = total
        return count


def get_logger(name: str) -> logging.Logger:
    """Returns the logger of a module (``get_logger(__name__)``); it shows information, not only warnings.

    Other libraries' loggers keep to warnings.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.INFO)
    return logger


def setup_logging(output_dir: str | Path | None, rank: int = 0) -> None:
    """Directs the log lines of this process; a later call replaces an earlier one.

    Rank 0 writes to the terminal and to ``stdout.log``, and its figures to ``metrics.jsonl``. Another
    rank writes to ``stdout_rank{N}.log`` alone. Files are appended to, so that a resumed run continues
    them.

    Args:
        output_dir: folder of the files, made when missing; None: the terminal alone.
        rank: number of this process over all machines.
    """
    global _metrics_path
    close_logging()
    if rank == 0:
        _handlers.append(_TerminalHandler())
    if output_dir is not None:
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        name = "stdout.log" if rank == 0 else f"stdout_rank{rank}.log"
        _handlers.append(_FileHandler(folder / name, encoding="utf-8"))
        _metrics_path = folder / METRICS_FILE if rank == 0 else None
    for handler in _handlers:
        handler.setFormatter(logging.Formatter(_LINE_FORMAT, _TIME_FORMAT))
        logging.getLogger().addHandler(handler)


def close_logging() -> None:
    """Ends what :func:`setup_logging` began and closes its files."""
    global _metrics_path
    _metrics_path = None
    while _handlers:
        handler = _handlers.pop()
        logging.getLogger().removeHandler(handler)
        handler.close()


def log_file() -> Path | None:
    """Returns the file that this process's lines go to; None where they go to the terminal alone."""
    return next((Path(h.baseFilename) for h in _handlers if isinstance(h, logging.FileHandler)), None)


def log_to_file(text: str) -> None:
    """Logs an error to the file alone, where the terminal gets it on another way."""
    get_logger(__name__).error("%s", text, extra={"file_only": True})


def log_json_stats(stats: Mapping[str, Any]) -> None:
    """Logs figures as PySlowFast does, ``json_stats: {…}`` with sorted keys and five places.

    The same mapping is appended to ``metrics.jsonl`` with its numbers unrounded, one object a line;
    values that are not finite become null there. Rank 0 alone writes; before :func:`setup_logging`
    nothing is written to a file.

    Args:
        stats: figures by name, with ``_type`` saying what they are (``train_iter``, ``train_epoch``,
            ``val_iter``, ``val_epoch``, ``test_iter``, ``test_final``). Scalars and arrays of
            NumPy and tensors are taken as numbers and lists.
    """
    plain = {key: _plain(value) for key, value in stats.items()}
    rounded = {key: _round(value) for key, value in plain.items()}
    get_logger(__name__).info(
        "json_stats: %s", simplejson.dumps(rounded, sort_keys=True, use_decimal=True, allow_nan=True)
    )
    if _metrics_path is not None:
        line = json.dumps({key: _finite(value) for key, value in plain.items()}, ensure_ascii=False)
        try:
            # One write a line, so that a killed run leaves whole lines.
            with _metrics_path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            _say_once(f"{_metrics_path} cannot be written ({error.strerror}); figures are lost")


_said: set[str] = set()


def _say_once(text: str) -> None:
    """A full disk must neither end a run for a line of its log nor fill the terminal."""
    if text not in _said:
        _said.add(text)
        print(text, file=sys.stderr)


class _FileHandler(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            _say_once(f"{self.baseFilename} cannot be written ({error.strerror}); lines are lost")
        else:
            super().handleError(record)


class _TerminalHandler(logging.Handler):
    """Writes to stdout above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "file_only", False):
            return
        try:
            tqdm.write(self.format(record), file=sys.stdout)
            sys.stdout.flush()
        except Exception:
            self.handleError(record)


def _plain(value: Any) -> Any:
    """Turns scalars and arrays of other libraries into Python's own."""
    return value.tolist() if hasattr(value, "tolist") else value


def _round(value: Any) -> Any:
    if isinstance(value, CountOf):
        return f"{int(value)}/{value.total}"
    if isinstance(value, list):
        return [_round(item) for item in value]
    if isinstance(value, float) and math.isfinite(value):
        return decimal.Decimal(f"{value:.5f}")
    return value


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
