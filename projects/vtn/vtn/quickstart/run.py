"""The quickstart from nothing to a report: videos, training, tests, baseline.

A finished step is recorded and not repeated; a run that was stopped continues from its newest checkpoint.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from importlib.resources import files
from pathlib import Path

from slowfast.errors import DataError, SlowFastError
from vtn.quickstart.dataset import DatasetSettings, generate_dataset
from vtn.quickstart.runs import CONFIG, NUM_STEPS, PREDICTIONS, PRODUCTS, RECORD, RUNS, Run, StepRecord


class RunFailedError(SlowFastError):
    """A run ended with another exit status than 0; the run itself has printed why.

    Args:
        title: title of the run.
        status: the run's exit status; negative: the number of the signal that ended it.
    """

    def __init__(self, title: str, status: int) -> None:
        self.status = status
        how = "was interrupted" if status in (130, 143) else f"ended with status {status}"
        super().__init__(f"'{title}' {how}; the same command continues from there")


def run_quickstart(output: Path, seed: int) -> None:
    """Runs all steps that are not done, and prints the results.

    Args:
        output: folder of the quickstart; made where it is missing.
        seed: seed of the videos and of training.

    Raises:
        SlowFastError: for every failure that the user can fix.
    """
    settings = DatasetSettings(seed=seed)
    recipe = (files("vtn.configs") / "QUICKSTART.yaml").read_bytes()
    record = StepRecord(
        output, {"data": asdict(settings), "configuration": hashlib.sha256(recipe).hexdigest()}
    )
    record.run_step("make the videos", 1, lambda: generate_dataset(output / "data", settings))
    for number, run in enumerate(RUNS, start=2):
        record.run_step(run.title, number, partial(start_run, run, output, seed))

    from vtn.quickstart.explained import explain_quickstart

    record.run_step("explain the predictions", NUM_STEPS - 1, lambda: explain_quickstart(output))

    # The report takes a second and is written in every call.
    from vtn.quickstart.results import print_results, write_results

    print(f"\n[{NUM_STEPS}/{NUM_STEPS}] write the report", flush=True)
    print_results(write_results(output, record.seconds), output)


def start_run(run: Run, output: Path, seed: int) -> None:
    """Runs ``slowfast run`` in a process of its own, which prints to the same terminal.

    Raises:
        RunFailedError: where the run's exit status is not 0.
    """
    overrides = {
        "DATA.PATH_TO_DATA_DIR": output / "data",
        "DATA.CLASS_NAMES": output / "data" / "classes.json",
        "TEST.SAVE_RESULTS_PATH": PREDICTIONS,
        "OUTPUT_DIR": output / run.name,
        "RNG_SEED": seed,
    }
    if not run.trains:
        from slowfast.checkpoint.storage import last_checkpoint

        overrides |= {"TRAIN.ENABLE": False, "TEST.CHECKPOINT_FILE_PATH": last_checkpoint(output / "vtn")}
    pairs = [str(part) for pair in overrides.items() for part in pair]
    arguments = ["--cfg", CONFIG, *run.overrides, *pairs]
    print(f"$ slowfast run {shlex.join(arguments)}", flush=True)
    command = [sys.executable, "-m", "slowfast.cli.run", *arguments]
    with subprocess.Popen(command) as process, forwarding_signals(process):
        status = process.wait()
    if status:
        raise RunFailedError(run.title, status)


@contextmanager
def forwarding_signals(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leaves Ctrl-C and SIGTERM to the run, which saves its state before it exits.

    A terminal sends Ctrl-C to both processes, so it is only ignored here; SIGTERM is forwarded.
    """
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(number)),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def clear_output(output: Path) -> None:
    """Deletes what an earlier quickstart wrote, and nothing else.

    Raises:
        DataError: where the folder holds files but not a quickstart.
    """
    if not output.is_dir() or not os.listdir(output):
        return
    if not (output / RECORD).is_file():
        raise DataError(
            f"{output}: holds files but not a quickstart, and --fresh deletes nothing else; choose another "
            "folder with --output"
        )
    for name in PRODUCTS:
        if (path := output / name).is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
