"""Commands that a long benchmark runs one after the other, and the record of those that are done."""

from __future__ import annotations

import hashlib
import json
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from slowfast.distributed.device import count_accelerators
from slowfast.errors import DataError, SlowFastError
from slowfast.files import write_text
from slowfast.visualization.run_log import RunLog, read_run_log
from vtn.quickstart.run import forwarding_signals


class CommandFailedError(SlowFastError):
    """A command ended with another exit status than 0; the command itself has printed why."""


class StepRecord:
    """The results of the steps that are done, in a JSON file.

    Args:
        path: the file; it is created where it is missing.
        settings: plain values that all results depend on.

    Raises:
        DataError: where the file holds results of other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._path = path
        self._content: dict[str, Any] = {"settings": dict(settings), "steps": {}}
        if path.is_file():
            self._content = json.loads(path.read_text(encoding="utf-8"))
            found = self._content["settings"]
            if changed := [key for key in settings if found.get(key) != settings[key]]:
                raise DataError(
                    f"{path}: holds results with another {' and '.join(changed)}; choose another --output, "
                    "or delete this folder"
                )

    def result(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Returns the recorded result of a step, plain values; does a step without a recorded one."""
        steps = self._content["steps"]
        if name not in steps:
            steps[name] = work()
            write_text(self._path, json.dumps(self._content, indent=1) + "\n")
        return steps[name]


def as_overrides(values: Mapping[str, Any]) -> list[str]:
    """Returns changes of a configuration as the command line takes them, ``[KEY, VALUE, …]``."""
    return [str(item) for pair in values.items() for item in pair]


def recipe_hash(recipe: str) -> str:
    """Returns a hash of a recipe of the project, on which recorded results depend."""
    return hashlib.sha256((files("vtn.configs") / f"{recipe}.yaml").read_bytes()).hexdigest()


def spread(values: Sequence[float]) -> float | None:
    """Returns the sample standard deviation; None for a single value."""
    return statistics.stdev(values) if len(values) > 1 else None


def train_recipe(
    recipe: str, values: Mapping[str, Any], folder: Path, opts: Sequence[str]
) -> tuple[float | None, RunLog]:
    """Trains a recipe in a process of its own; returns its seconds (see :func:`run_timed`) and its log.

    Args:
        values: changes of the recipe, key -> value.
        folder: ``OUTPUT_DIR``.
        opts: further changes, ``[KEY, VALUE, …]``.
    """
    keys = as_overrides({"NUM_GPUS": min(1, count_accelerators()), **values, "OUTPUT_DIR": folder})
    seconds = run_timed("slowfast.cli.run", ["--cfg", recipe, *keys, *opts], folder)
    return seconds, read_run_log(folder)


def run_timed(module: str, arguments: Sequence[str], folder: Path) -> float | None:
    """Runs a command of the framework in a process of its own, without its log.

    Args:
        module: dotted name of the command's module.
        arguments: the command line.
        folder: folder that the command creates. Where it exists already, the command continues what an
            interrupted call has begun.

    Returns:
        The seconds that the process ran; None for a command that continued, since a part is missing.

    Raises:
        CommandFailedError: where the exit status is not 0.
    """
    is_new = not folder.exists()
    print(f"$ {module} {shlex.join(arguments)}", file=sys.stderr, flush=True)
    begin = time.perf_counter()
    command = [sys.executable, "-m", module, *arguments]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL) as process,
        forwarding_signals(process),
    ):
        status = process.wait()
    if status:
        raise CommandFailedError(
            f"{module} ended with status {status} (log: OUTPUT_DIR/stdout.log of the command above); after "
            "an interruption the same benchmark command continues"
        )
    return time.perf_counter() - begin if is_new else None
