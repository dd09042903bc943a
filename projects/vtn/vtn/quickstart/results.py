"""Results of the quickstart's runs: a table, ``results.json`` and the report.

L layers, B clips, N heads, T frames.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from slowfast.checkpoint.storage import last_checkpoint
from slowfast.config import load_config
from slowfast.datasets.build import build_dataset
from slowfast.datasets.clip import Clip, Normalization, normalize
from slowfast.datasets.views.frame_order import GIVEN, REVERSED, SHUFFLED, STILL
from slowfast.engine.prediction_file import Predictions, load_predictions
from slowfast.engine.testing.order_report import compare_orders, order_path
from slowfast.files import write_text
from slowfast.models.frame_format import frame_normalization
from slowfast.visualization.filmstrip import Filmstrip, cut_filmstrip
from slowfast.visualization.report import Report, Result, format_seconds, write_report
from slowfast.visualization.run_log import read_run_log
from slowfast.visualization.text_table import align_columns
from vtn.factory import create_model
from vtn.quickstart.explained import faithfulness_table, read_faithfulness
from vtn.quickstart.runs import EXPLANATION, PREDICTIONS

MAX_MISTAKES = 2

# (folder of the run, order of the frames, name in the table, note in the report)
EVALUATIONS = (
    ("vtn", GIVEN, "whole video", "VTN, 8 frames spread over the whole video, one pass"),
    ("multi_view", GIVEN, "multi-view", "the same weights on 4 clips × 3 crops, scores averaged"),
    ("vtn", SHUFFLED, "shuffled frames", "the same weights, frames in random order: the gain from the order"),
    ("vtn", REVERSED, "reversed frames", "the same weights, frames from last to first"),
    ("vtn", STILL, "one frame only", "the same weights, the middle frame in the places of all"),
    (
        "baseline",
        GIVEN,
        "mean pooling",
        "the same backbone, features of frames averaged, trained for as long",
    ),
)
STRIPS_PER_CONFUSION = 1
SUMMARY = (
    "Eight classes in four pairs; one class of a pair is the other reversed in time: an object moves right "
    "or left, down or up, approaches or recedes, appears or disappears. One frame, or a set of frames "
    "without their order, shows the pair but not which of its two classes."
)
NOTES = (
    "A model that ignores order exceeds 50 % only by chance. Backgrounds and objects of the test videos come "
    "from photographs that are in no training video.",
)

FILMSTRIP_NOTE = (
    "Bars show the attention of [CLS] to each frame in the last layer, averaged over heads; the bars of a "
    "video sum to 1."
)


def write_results(output: Path, seconds: Mapping[str, float]) -> list[Result]:
    """Writes ``results.json`` and ``report.html`` into the quickstart's folder.

    Args:
        output: folder of the quickstart, with all runs done.
        seconds: title of each step -> its duration in seconds.

    Returns:
        The evaluations; the first is that of whole videos.
    """
    results = [
        Result(name, load_predictions(predictions_path(output / run, order)), note)
        for run, order, name, note in EVALUATIONS
    ]
    order = compare_orders(
        {
            order: result.predictions
            for (run, order, _, _), result in zip(EVALUATIONS, results, strict=True)
            if run == "vtn"
        },
        results[0].predictions.class_names,
    )
    faithfulness = read_faithfulness(output)
    report = Report(
        title="VTN quickstart",
        summary=SUMMARY,
        results=results,
        runs=[read_run_log(output / "vtn", "VTN"), read_run_log(output / "baseline", "mean pooling")],
        filmstrips=list(draw_filmstrips(output / "vtn", results[0].predictions)),
        filmstrip_note=FILMSTRIP_NOTE,
        order=order,
        tables=[faithfulness_table(faithfulness)],
        strips=STRIPS_PER_CONFUSION,
        notes=NOTES,
        config=(output / "vtn" / "config.yaml").read_text(encoding="utf-8"),
        timings=list(seconds.items()),
        packages=("slowfast-vtn",),
    )
    write_report(output / "report.html", report)
    content = {
        "results": _metrics(results),
        "order": order.to_dict(),
        "faithfulness": faithfulness,
        "seconds": dict(seconds),
    }
    write_text(output / "results.json", json.dumps(content, indent=1))
    return results


def _metrics(results: Sequence[Result]) -> dict[str, dict[str, float | None]]:
    """Returns the metrics of each evaluation by its name."""
    return {
        result.name: {
            "top1_acc": result.value,
            "videos": result.num_videos,
            "views": result.views,
            "seconds_per_video": result.seconds_per_video,
        }
        for result in results
    }


def predictions_path(run: Path, order: str) -> Path:
    """Returns the predictions file of a run for an order of the frames."""
    path = run / PREDICTIONS
    return path if order == GIVEN else order_path(path, order)


def print_results(results: Sequence[Result], output: Path) -> None:
    """Prints the table of evaluations and the paths of all files."""
    rows = [("evaluation", "top-1", "views", "per video")]
    for result in results:
        time = format_seconds(result.predictions.meta["seconds_per_video"])
        rows.append((result.name, f"{result.value:.1f} %", str(result.views), time))
    print("\n" + "\n".join(align_columns(rows, left=(0,))))
    paths = {
        "report": "report.html",
        "explanation": EXPLANATION,
        "metrics": "results.json",
        "videos": "data",
        "weights, logs": "vtn",
    }
    print()
    for content, path in paths.items():
        print(f"{content + ':':<16}{output / path}")


def draw_filmstrips(run: Path, predictions: Predictions) -> Iterator[Filmstrip]:
    """Yields filmstrips of test videos: one per class that was recognised, then some that were not.

    Args:
        run: output folder of the finished run.
        predictions: the run's predictions for the test videos.
    """
    checkpoint = last_checkpoint(run)
    model = create_model(run / "config.yaml", checkpoint)
    cfg = load_config(run / "config.yaml")
    dataset = build_dataset(cfg, "test", position_rate=model.position_rate)
    names = predictions.class_names
    for row in choose_shown_videos(predictions):
        video_id, guess = int(predictions.video_ids[row]), int(predictions.predicted[row])
        clip = dataset[video_id * dataset.num_views]
        assert isinstance(clip, Clip)
        image, seconds = cut_filmstrip(predictions.paths[row], cfg.TRAIN.EVAL_NUM_FRAMES)
        yield Filmstrip(
            video=Path(predictions.paths[row]).name,
            true=names[int(predictions.labels[row])],
            predicted=names[guess],
            score=float(predictions.scores[row, guess]),
            image=image,
            seconds=seconds,
            weights=attention_fractions(model, clip, frame_normalization(cfg, model)),
        )


def choose_shown_videos(predictions: Predictions) -> list[int]:
    """Returns rows of ``predictions``: the first correct one of each class, then up to 2 mistakes."""
    right = predictions.predicted == predictions.labels
    firsts = [
        np.flatnonzero(right & (predictions.labels == k))[:1] for k in range(len(predictions.class_names))
    ]
    return np.concatenate([*firsts, np.flatnonzero(~right)[:MAX_MISTAKES]]).tolist()


@torch.inference_mode()
def attention_fractions(model: nn.Module, clip: Clip, normalization: Normalization) -> list[float]:
    """Returns T fractions: the attention of [CLS] to each frame in the last layer, averaged over heads.

    Args:
        model: a model with ``encode_frames`` and ``frame_attention``.
        clip: T frames of one video.
        normalization: of the frames.
    """
    frames = normalize(clip.frames[None], *normalization)
    weights = model.frame_attention(model.encode_frames(frames), clip.positions[None])  # (L, 1, N, T)
    attention = weights[-1, 0].mean(dim=0)  # (T,)
    return (attention / attention.sum()).tolist()
