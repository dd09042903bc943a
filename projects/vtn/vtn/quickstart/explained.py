"""The explanation step of the quickstart: a page about one test video, and faithfulness over all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from slowfast.checkpoint.storage import last_checkpoint
from slowfast.engine.prediction_file import Predictions, load_predictions
from slowfast.errors import CheckpointError
from slowfast.metrics.intervals import Interval
from slowfast.progress import Progress
from slowfast.visualization.report import Table
from vtn.explaining.split import choose_videos, summarize_rankings, write_summary
from vtn.predictor.predictor import Predictor
from vtn.quickstart.runs import EXPLANATION, FAITHFULNESS, PREDICTIONS

NUM_VIDEOS = 100
"""Test videos, chosen at random, over which faithfulness is measured."""

_TITLE = "Which frames does the model rely on?"
_NOTE = (
    "Frames are deleted, or shown alone, in the order of a ranking, and the video is scored again. A ranking "
    "is faithful if the area under the score is small while frames are deleted, and large while they are "
    "shown. The last column is the fraction of videos in which it is better than random order, on both areas."
)


def explain_quickstart(output: Path) -> None:
    """Explains one test video, and measures faithfulness over ``NUM_VIDEOS`` of them.

    Args:
        output: folder of the quickstart, with the run ``vtn`` done.

    Raises:
        CheckpointError: where the run has no checkpoint.
        DataError: where no video can be explained.
    """
    checkpoint = last_checkpoint(output / "vtn")
    if checkpoint is None:
        raise CheckpointError(f"{output / 'vtn'}: has no checkpoint; start over with --fresh")
    predictions = load_predictions(output / "vtn" / PREDICTIONS)
    predictor = Predictor(checkpoint)
    predictor.explain(_example(predictions)).write(output / EXPLANATION)
    rows = []
    paths = choose_videos(predictions.paths, NUM_VIDEOS)
    found = predictor.measure_faithfulness(paths)
    with Progress(len(paths), "explained", "video") as progress, closing(found):
        for row in found:
            rows.append(row)
            progress.update()
    write_summary(output / FAITHFULNESS, rows, summarize_rankings(rows), predictor.class_names)


def read_faithfulness(output: Path) -> dict[str, Any]:
    """Returns the rankings that :func:`explain_quickstart` wrote, and the number of videos they are over."""
    content = json.loads((output / FAITHFULNESS).read_text(encoding="utf-8"))
    measured = [row for row in content["per_video"] if "error" not in row]
    return {"videos": len(measured), "rankings": content["rankings"]}


def faithfulness_table(content: Mapping[str, Any]) -> Table:
    """Returns the section of the report from the values of :func:`read_faithfulness`."""
    rows = [
        (
            name,
            Interval(**row["deletion_area"]).text(),
            Interval(**row["insertion_area"]).text(),
            _percent(row["better_than_random"]),
        )
        for name, row in content["rankings"].items()
    ]
    caption = f"Mean areas over {content['videos']} test videos, with 95 % intervals"
    header = ("frames ordered by", "deletion (low: good)", "insertion (high: good)", "better than random")
    return Table(_TITLE, _NOTE, caption, header, rows)


def _example(predictions: Predictions) -> str:
    """Returns the first video that is predicted correctly, or else the first one."""
    right = np.flatnonzero(predictions.predicted == predictions.labels)
    return predictions.paths[int(right[0]) if len(right) else 0]


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.0f} %"
