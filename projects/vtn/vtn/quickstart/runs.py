"""The runs of the quickstart, and the record of the steps that are done.

The quickstart's folder holds one folder per run, ``data`` with the videos, and the record,
``quickstart.json``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slowfast.errors import DataError
from slowfast.files import read_json_object, write_text

CONFIG = "VTN/QUICKSTART"
PREDICTIONS = "predictions.npz"
RECORD = "quickstart.json"
EXPLANATION = "explanation.html"
FAITHFULNESS = "faithfulness.json"


@dataclass(frozen=True)
class Run:
    """A run of the quickstart: one call of ``slowfast run``.

    Attributes:
        name: folder of the run's output.
        title: description of the run, for the terminal and the report.
        overrides: ``KEY, VALUE, …`` over the configuration, in addition to data and output.
        trains: True where the run trains its own weights; False where it tests those of the run ``vtn``.
    """

    name: str
    title: str
    overrides: tuple[str, ...]
    trains: bool


_MULTI_VIEW = (
    "TRAIN.EVAL_FULL_VIDEO", "False", "TEST.NUM_ENSEMBLE_VIEWS", "4", "TEST.NUM_SPATIAL_CROPS", "3",
    "TEST.ORDER_REPORT", "False",
)  # fmt: skip
RUNS = (
    Run("vtn", "train the VTN, test it on whole videos and on other orders of frames", (), trains=True),
    Run("multi_view", "test it on 4 clips × 3 crops per video", _MULTI_VIEW, trains=False),
    Run(
        "baseline",
        "train the frame-averaging baseline",
        ("MODEL.MODEL_NAME", "FrameAverage", "TEST.ORDER_REPORT", "False"),
        trains=True,
    ),
)
NUM_STEPS = len(RUNS) + 3  # the videos come first, the explanation and the report last
# Everything that a quickstart writes to its folder, and that earlier versions wrote; `--fresh` deletes these
# names and nothing else.
PRODUCTS = (
    "data", *(run.name for run in RUNS), "shuffled", "report.html", "results.json", RECORD, EXPLANATION,
    *(Path(EXPLANATION).with_suffix(suffix).name for suffix in (".json", ".png")), FAITHFULNESS,
)  # fmt: skip


class StepRecord:
    """The steps that are done and how long they took, in ``OUTPUT/quickstart.json``.

    Args:
        output: folder of the quickstart.
        identity: settings that the results depend on.

    Raises:
        DataError: where the folder holds a quickstart with other settings.
    """

    def __init__(self, output: Path, identity: Mapping[str, Any]) -> None:
        self._path = output / RECORD
        self._content: dict[str, Any] = {"identity": dict(identity), "seconds": {}}
        if self._path.is_file():
            self._content = read_json_object(self._path)
            found = self._content.get("identity", {})
            changed = [key for key in identity if found.get(key) != identity[key]]
            if changed:
                raise DataError(
                    f"{output}: holds a quickstart with another {' and '.join(changed)}; start over with "
                    "--fresh, or choose another folder with --output"
                )
        self._write()

    @property
    def seconds(self) -> dict[str, float]:
        """Title of each finished step -> its duration in seconds."""
        return self._content["seconds"]

    def run_step(self, title: str, number: int, step: Callable[[], object]) -> None:
        """Runs a step and records its duration; skips a step that is done already."""
        if title in self.seconds:
            print(f"[{number}/{NUM_STEPS}] {title}: already done", flush=True)
            return
        print(f"\n[{number}/{NUM_STEPS}] {title}", flush=True)
        start = time.perf_counter()
        step()
        self.seconds[title] = time.perf_counter() - start
        self._write()

    def _write(self) -> None:
        write_text(self._path, json.dumps(self._content, indent=1))
