"""Logging of a run: ``stdout.log`` and the terminal for readers, ``metrics.jsonl`` for programs.

The ``json_stats`` lines must stay exactly PySlowFast's, since users' scripts parse them: numbers have five
decimal places (``0.00100``). The standard ``json`` module cannot write those, so ``simplejson`` with
``decimal`` writes these lines.
"""

from __future__ import annotations

import contextlib
import decimal
import io
import logging
import math
import os
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import simplejson

METRICS_FILE = "metrics.jsonl"

_LINE_FORMAT = "[%(asctime)s][%(levelname)s] %(name)s: %(message)s"
_TIME_FORMAT = "%m/%d %H:%M:%S"

_handlers: list[logging.Handler] = []
_metrics_path: Path | None = None
_packages: set[logging.Logger] = set()
_is_info_shown = False
_reported: set[str] = set()
# Logger -> the messages that it has logged once. The bound is per logger, so that lines about very many files
# neither fill the memory nor keep the line of another module from being logged.
_logged: defaultdict[str, set[str]] = defaultdict(set)
_MOST_LOGGED = 10_000

# Control characters, halves of pairs, and separators of lines and paragraphs.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Characters that change the direction of the text after them, beyond their own word.
_UNSAFE_DIRECTIONS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


class CountOf(int):
    """A whole number with its total: epoch 3 of 25 is ``CountOf(3, 25)``.

    ``json_stats`` lines show it as ``"3/25"``, as PySlowFast's do; ``metrics.jsonl`` has the number 3.
    """

    total: int

    def __new__(cls, value: int, total: int) -> CountOf:
        count = super().__new__(cls, value)
        count.total = total
        return count


def get_logger(name: str) -> logging.Logger:
    """Returns the logger of a module (``get_logger(__name__)``), whose package :func:`show_info` includes."""
    package = logging.getLogger(name.partition(".")[0])
    _packages.add(package)
    if _is_info_shown:
        package.setLevel(logging.INFO)
    return logging.getLogger(name)


def show_info() -> None:
    """Shows lines of level INFO in a command; of other libraries, warnings and errors only.

    A program that imports this package chooses by ``logging.getLogger("slowfast").setLevel``.
    """
    global _is_info_shown
    _is_info_shown = True
    for package in _packages:
        package.setLevel(logging.INFO)


def discard_output(stream: TextIO) -> None:
    """Discards all further output to a stream whose reader has closed it, that of its buffer included."""
    with contextlib.suppress(OSError, ValueError):  # a stream without a file, or a closed one
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)


def prepare_stdout() -> None:
    """Makes stdout take any text, with escapes for characters that its encoding does not have.

    Without UTF-8, as with ``LANG=en_US`` on a cluster, a ``…`` in a help or the name of a file would end the
    command. A closed stdout (``>&-``), which Python does not have, becomes one that discards the text.
    """
    stream = sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    # What UTF-8 lacks are halves of pairs only, which :func:`printable` escapes.
    if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() not in ("utf-8", "utf8"):
        stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """Returns a text of several lines with escapes for the characters that a terminal would act on.

    Names of files and classes may hold them, and would clear the screen or hide what stands before them.

    >>> printable("clips/\\x1b[2J.mp4")
    'clips/\\\\x1b[2J.mp4'
    """
    return "".join(c if c == "\n" or is_safe(c) else c.encode("unicode_escape").decode() for c in text)


def is_safe(character: str) -> bool:
    """Returns whether a character is one to show, and not one that moves, hides or reorders others."""
    return (
        unicodedata.category(character) not in _UNSAFE_CATEGORIES
        and unicodedata.bidirectional(character) not in _UNSAFE_DIRECTIONS
    )


class LineFormatter(logging.Formatter):
    """A formatter of lines with the names of any files, also of those that are not UTF-8."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _TerminalFormatter(LineFormatter):
    """A formatter of lines for a terminal of 80 columns: the time, the level if not INFO, and the message.

    Lines of other libraries have the name of their logger.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        level = "" if record.levelno == logging.INFO else f"{record.levelname}: "
        is_own = logging.getLogger(record.name.partition(".")[0]) in _packages
        source = "" if is_own else f"{record.name}: "
        return f"{super().formatMessage(record)} {level}{source}{record.message}"


def setup_logging(output_dir: str | Path | None, rank: int = 0) -> None:
    """Directs the log lines of this process; a later call replaces an earlier one.

    Rank 0 writes to the terminal and to ``stdout.log``, and its metrics to ``metrics.jsonl``. Any other rank
    writes to ``stdout_rank{N}.log`` only. Files are appended to, so that a resumed run continues them. Lines
    in files and pipes begin with date, level and module, those on a terminal with the time.

    Args:
        output_dir: folder of the files, created where it is missing; None: the terminal only.
        rank: rank of this process over all nodes.
    """
    global _metrics_path
    close_logging()
    show_info()
    if rank == 0:
        prepare_stdout()
        _handlers.append(_TerminalHandler(sys.stdout))
    if output_dir is not None:
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        name = "stdout.log" if rank == 0 else f"stdout_rank{rank}.log"
        _handlers.append(_FileHandler(folder / name, encoding="utf-8"))
        _metrics_path = folder / METRICS_FILE if rank == 0 else None
    for handler in _handlers:
        is_shown = isinstance(handler, _TerminalHandler) and sys.stdout is not None and sys.stdout.isatty()
        handler.setFormatter(_TerminalFormatter() if is_shown else LineFormatter(_LINE_FORMAT, _TIME_FORMAT))
        logging.getLogger().addHandler(handler)


def close_logging() -> None:
    """Removes the handlers of :func:`setup_logging` and closes their files."""
    global _metrics_path
    _metrics_path = None
    _logged.clear()
    while _handlers:
        handler = _handlers.pop()
        logging.getLogger().removeHandler(handler)
        handler.close()


def log_file() -> Path | None:
    """Returns the file of this process's log lines; None where they go to the terminal only."""
    handler = _file_handler()
    return None if handler is None else Path(handler.baseFilename)


def log_to_file(text: str) -> None:
    """Logs an error to the file only, where another process prints it on the terminal."""
    _handle_in_file(logging.ERROR, text)


def _handle_in_file(level: int, text: str) -> None:
    if (handler := _file_handler()) is not None:
        handler.handle(logging.LogRecord(__name__, level, __file__, 0, "%s", (text,), None))


def log_json_stats(stats: Mapping[str, Any]) -> None:
    """Logs metrics as PySlowFast does: ``json_stats: {…}`` with sorted keys and five decimal places.

    A terminal does not show these lines; ``stdout.log`` has them. The same metrics are appended to
    ``metrics.jsonl`` with unrounded numbers, one object per line; values that are not finite become null
    there. Only rank 0 writes that file, after :func:`setup_logging`.

    Args:
        stats: metrics by name. ``_type`` gives their kind (``train_iter``, ``train_epoch``, ``val_iter``,
            ``val_epoch``, ``test_iter``, ``test_final``). Scalars and arrays of NumPy and tensors are
            converted to numbers and lists.
    """
    plain = {key: _plain(value) for key, value in stats.items()}
    rounded = {key: _round(value) for key, value in plain.items()}
    line = "json_stats: " + simplejson.dumps(rounded, sort_keys=True, use_decimal=True, allow_nan=True)
    if sys.stdout.isatty():  # its reader has the sentences beside these lines, and scripts read the file
        _handle_in_file(logging.INFO, line)
    else:
        get_logger(__name__).info("%s", line)
    if _metrics_path is not None:
        line = simplejson.dumps(plain, ensure_ascii=False, ignore_nan=True)
        try:
            _append_line(_metrics_path, line)
        except OSError as error:
            _report_once(f"{_metrics_path}: cannot be written ({error.strerror}); metrics are lost")


def _append_line(path: Path, line: str) -> None:
    """Appends a line by a single write, so that a killed run leaves complete lines."""
    with path.open("ab+") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
        # A full disk may have cut off the line before, which would make this one unreadable, too.
        start = "" if file.read(1) in (b"", b"\n") else "\n"
        file.write(f"{start}{line}\n".encode())


def log_once(logger: logging.Logger, message: str, level: int = logging.INFO) -> None:
    """Logs a line, at most once per run of this process (per :func:`setup_logging`).

    After 10,000 different lines of a logger, its others are left out.
    """
    logged = _logged[logger.name]
    if message not in logged and len(logged) < _MOST_LOGGED:
        logged.add(message)
        logger.log(level, "%s", message)


class _TerminalHandler(logging.StreamHandler[TextIO]):
    """A handler of the terminal that stops where the reader of stdout, such as ``head``, has closed it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            discard_output(self.stream)
        else:
            super().handleError(record)


class _FileHandler(logging.FileHandler):
    """A log-file handler that tolerates a full disk: the run continues, and the problem is printed once."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            _report_once(f"{self.baseFilename}: cannot be written ({error.strerror}); log lines are lost")
        else:
            super().handleError(record)


def _file_handler() -> logging.FileHandler | None:
    return next((handler for handler in _handlers if isinstance(handler, logging.FileHandler)), None)


def _report_once(text: str) -> None:
    """Prints a problem of the log files to stderr, at most once per process."""
    if text not in _reported:
        _reported.add(text)
        print(text, file=sys.stderr)


def _plain(value: Any) -> Any:
    """Returns a scalar or an array of another library as a number or a list."""
    return value.tolist() if hasattr(value, "tolist") else value


def _round(value: Any) -> Any:
    """Returns a value as a ``json_stats`` line shows it."""
    if isinstance(value, CountOf):
        return f"{int(value)}/{value.total}"
    if isinstance(value, list):
        return [_round(item) for item in value]
    if isinstance(value, float) and math.isfinite(value):
        return decimal.Decimal(f"{value:.5f}")
    return value
