"""The quickstart from nothing to a report: data, training, tests, baseline, each a run like any user's.

A finished step is noted in ``quickstart.json`` and not repeated; a run that was stopped continues from its
newest checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from slowfast.errors import DataError, SlowFastError
from slowfast.files import write_text
from slowfast.log import setup_logging
from vtn.quickstart.dataset import DatasetSettings, generate_dataset

CONFIG = "VTN/QUICKSTART"
PREDICTIONS = "predictions.npz"
NOTES = "quickstart.json"

DESCRIPTION = """\
Makes videos whose classes need the order of frames, trains a small VTN on them, tests it on whole videos,
on shuffled frames and on several views, trains a baseline that averages frames, and writes a report.
It takes minutes on two CPU cores. Called again, it goes on where it stopped.
"""
EXAMPLES = """\
examples:
  python tools/quickstart.py
  python tools/quickstart.py --seed 2 --output output/quickstart_2
  python tools/quickstart.py --fresh
"""


@dataclass(frozen=True)
class Run:
    """One run of ``tools/run_net.py``.

    Attributes:
        name: folder of its output.
        title: what it does, for people.
        overrides: ``KEY, VALUE, …`` over the configuration, besides data and output.
        trains: whether it trains its weights; else it tests those of the run ``vtn``.
    """

    name: str
    title: str
    overrides: tuple[str, ...]
    trains: bool


RUNS = (
    Run("vtn", "train the VTN, test it on whole videos", (), trains=True),
    Run("shuffled", "test it with shuffled frames", ("TEST.SHUFFLE_FRAMES", "True"), trains=False),
    Run(
        "multi_view",
        "test it on 4 clips × 3 crops a video",
        ("TRAIN.EVAL_FULL_VIDEO", "False", "TEST.NUM_ENSEMBLE_VIEWS", "4", "TEST.NUM_SPATIAL_CROPS", "3"),
        trains=False,
    ),
    Run("baseline", "train the frame-averaging baseline", ("MODEL.MODEL_NAME", "FrameAverage"), trains=True),
)
# All that a quickstart makes in its folder: what `--fresh` deletes.
PRODUCTS = ("data", *(run.name for run in RUNS), "report.html", "results.json", NOTES)


class RunFailedError(SlowFastError):
    """A run ended with a status that is not 0; it has said why itself."""

    def __init__(self, title: str, status: int) -> None:
        self.status = status
        how = "was interrupted" if status in (130, 143) else f"ended with status {status}"
        super().__init__(f"'{title}' {how}; the same command goes on from there")


class Notebook:
    """The steps that are done and what they took, in ``OUTPUT/quickstart.json``.

    Args:
        output: folder of the quickstart.
        identity: what the results depend on; a folder begun with another one is refused.

    Raises:
        DataError: where the folder holds a quickstart of another identity.
    """

    def __init__(self, output: Path, identity: dict[str, Any]) -> None:
        self._path = output / NOTES
        self._content: dict[str, Any] = {"identity": identity, "seconds": {}}
        if self._path.is_file():
            self._content = json.loads(self._path.read_text(encoding="utf-8"))
            found = self._content["identity"]
            changed = [key for key in identity if found.get(key) != identity[key]]
            if changed:
                raise DataError(
                    f"{output} holds a quickstart with another {' and '.join(changed)}; start over with "
                    "--fresh, or name another folder with --output"
                )
        self._write()

    @property
    def seconds(self) -> dict[str, float]:
        """What each finished step took, by title."""
        return self._content["seconds"]

    def take_step(self, title: str, number: int, step: Callable[[], object]) -> None:
        """Takes a step unless it was taken before, and notes its time."""
        total = len(RUNS) + 2
        if title in self.seconds:
            print(f"[{number}/{total}] {title}: done before", flush=True)
            return
        print(f"\n[{number}/{total}] {title}", flush=True)
        start = time.perf_counter()
        step()
        self.seconds[title] = time.perf_counter() - start
        self._write()

    def _write(self) -> None:
        write_text(self._path, json.dumps(self._content, indent=1))


def run_quickstart(output: Path, seed: int) -> None:
    """Takes all steps that are not done, and prints the results.

    Raises:
        SlowFastError: for whatever a user can mend.
    """
    settings = DatasetSettings(seed=seed)
    recipe = (files("vtn.configs") / "QUICKSTART.yaml").read_bytes()
    notebook = Notebook(
        output, {"data": asdict(settings), "configuration": hashlib.sha256(recipe).hexdigest()}
    )
    notebook.take_step("make the videos", 1, lambda: generate_dataset(output / "data", settings))
    for number, run in enumerate(RUNS, start=2):
        notebook.take_step(run.title, number, lambda run=run: start_run(run, output, seed))  # type: ignore[misc]
    # The report is cheap, and made anew each time.
    from vtn.quickstart.results import print_results, write_results

    print(f"\n[{len(RUNS) + 2}/{len(RUNS) + 2}] write the report", flush=True)
    print_results(write_results(output, notebook.seconds), output)


def start_run(run: Run, output: Path, seed: int) -> None:
    """Runs ``slowfast.cli.run`` as a process of its own, its output going where ours goes.

    Raises:
        RunFailedError: where it does not end well.
    """
    overrides = {
        "DATA.PATH_TO_DATA_DIR": output / "data",
        "TENSORBOARD.CLASS_NAMES_PATH": output / "data" / "classes.json",
        "TEST.SAVE_RESULTS_PATH": PREDICTIONS,
        "OUTPUT_DIR": output / run.name,
        "RNG_SEED": seed,
    }
    if not run.trains:
        from slowfast.checkpoint.storage import last_checkpoint

        overrides |= {
            "TRAIN.ENABLE": False,
            "TEST.CHECKPOINT_FILE_PATH": last_checkpoint(output / "vtn"),
        }
    pairs = [str(part) for pair in overrides.items() for part in pair]
    command = ["--cfg", CONFIG, *run.overrides, *pairs]
    print(f"$ python tools/run_net.py {shlex.join(command)}", flush=True)
    interpreter = [sys.executable, "-m", "slowfast.cli.run"]
    with subprocess.Popen([*interpreter, *command]) as process, _signals_left_to(process):
        status = process.wait()
    if status:
        raise RunFailedError(run.title, status)


@contextmanager
def _signals_left_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Lets the run end in its own way at Ctrl-C or SIGTERM: it saves its state first.

    A terminal sends Ctrl-C to both processes, so it is only passed over here; SIGTERM is passed on.
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
    """Deletes what an earlier quickstart made, and nothing else.

    Raises:
        DataError: where the folder holds files but no quickstart.
    """
    if not output.is_dir() or not os.listdir(output):
        return
    if not (output / NOTES).is_file():
        raise DataError(f"{output} holds no quickstart; --fresh deletes nothing else: name another --output")
    for name in PRODUCTS:
        if (path := output / name).is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", type=Path, default=Path("output/quickstart"), metavar="FOLDER", help="%(default)s"
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="of the videos and of the training; %(default)s"
    )
    parser.add_argument("--fresh", action="store_true", help="delete an earlier quickstart in FOLDER first")
    args = parser.parse_args(argv)
    setup_logging(None)
    try:
        if args.fresh:
            clear_output(args.output)
        run_quickstart(args.output, args.seed)
    except RunFailedError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.status if error.status > 0 else 1
    except SlowFastError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0
