"""What the quickstart's runs say together: a table, ``results.json`` and the report.

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
from slowfast.datasets.clip import Clip, normalize
from slowfast.engine.prediction_file import Predictions, load_predictions
from slowfast.files import write_text
from slowfast.visualization.filmstrip import Filmstrip, cut_filmstrip
from slowfast.visualization.report import Report, Result, format_seconds, read_curves, write_report
from vtn.factory import create_model
from vtn.quickstart.run import PREDICTIONS

MAX_MISTAKES = 2

# (folder of the run, name, what its line shows)
EVALUATIONS = (
    ("vtn", "whole video", "VTN, 8 frames spread over the whole video, one pass"),
    ("multi_view", "multi-view", "the same weights on 4 clips × 3 crops, scores averaged"),
    ("shuffled", "shuffled frames", "the same weights, frames in random order: what order is worth"),
    ("baseline", "mean pooling", "the same backbone, frames averaged, trained equally long"),
)
SUMMARY = (
    "Eight classes in four pairs, each the other run backwards: an object moves right or left, down or up, "
    "approaches or recedes, appears or disappears. One frame, or any set of frames without their order, "
    "tells the pair but not the member."
)
NOTES = (
    "A model that ignores order cannot get above 50 % but by chance. Backgrounds and objects of the test "
    "videos come from photographs that no training video shows.",
)

FILMSTRIP_NOTE = (
    "Bars show what the model looked at: the attention of [CLS] to each frame in the last layer, averaged "
    "over heads, as shares of all frames."
)


def write_results(output: Path, seconds: Mapping[str, float]) -> list[Result]:
    """Writes ``results.json`` and ``report.html`` into the quickstart's folder.

    Args:
        output: the folder; its runs are done.
        seconds: what each step took, by title.

    Returns:
        The evaluations, whole videos first.
    """
    results = [
        Result(name, load_predictions(output / run / PREDICTIONS), note) for run, name, note in EVALUATIONS
    ]
    report = Report(
        title="VTN quickstart",
        summary=SUMMARY,
        results=results,
        curves={"VTN": read_curves(output / "vtn"), "mean pooling": read_curves(output / "baseline")},
        filmstrips=list(draw_filmstrips(output / "vtn", results[0].predictions)),
        filmstrip_note=FILMSTRIP_NOTE,
        notes=NOTES,
        config=(output / "vtn" / "config.yaml").read_text(encoding="utf-8"),
        timings=list(seconds.items()),
        packages=("slowfast-vtn",),
    )
    write_report(output / "report.html", report)
    figures = {
        result.name: {
            "top1_acc": result.top1,
            "videos": result.num_videos,
            "views": result.views,
            "seconds_per_video": result.seconds_per_video,
        }
        for result in results
    }
    write_text(output / "results.json", json.dumps({"results": figures, "seconds": dict(seconds)}, indent=1))
    return results


def print_results(results: Sequence[Result], output: Path) -> None:
    """Prints the table and the places of all files."""
    print(f"\n{'evaluation':<18}{'top-1':>8}{'views':>7}{'a video':>10}")
    for result in results:
        time = format_seconds(result.seconds_per_video)
        print(f"{result.name:<18}{result.top1:>6.1f} %{result.views:>7}{time:>10}")
    places = {
        "report": "report.html",
        "figures": "results.json",
        "videos": "data",
        "weights, logs": "vtn",
    }
    print()
    for what, place in places.items():
        print(f"{what + ':':<16}{output / place}")


def draw_filmstrips(run: Path, predictions: Predictions) -> Iterator[Filmstrip]:
    """Draws some test videos of a finished run: one of each class that was recognised, then some mistakes."""
    checkpoint = last_checkpoint(run)
    model = create_model(run / "config.yaml", checkpoint)
    cfg = load_config(run / "config.yaml")
    dataset = build_dataset(cfg, "test", position_rate=model.position_rate)
    names = predictions.class_names
    for row in choose_videos(predictions):
        video_id, guess = int(predictions.video_ids[row]), int(predictions.predicted[row])
        clip = dataset[video_id * dataset.num_views]
        if not isinstance(clip, Clip):
            continue
        picture, seconds = cut_filmstrip(predictions.paths[row], cfg.TRAIN.EVAL_NUM_FRAMES)
        yield Filmstrip(
            video=Path(predictions.paths[row]).name,
            true=names[int(predictions.labels[row])],
            predicted=names[guess],
            score=float(predictions.scores[row, guess]),
            picture=picture,
            seconds=seconds,
            weights=weigh_frames(model, clip, mean=tuple(cfg.DATA.MEAN), std=tuple(cfg.DATA.STD)),
        )


def choose_videos(predictions: Predictions) -> list[int]:
    """Rows of ``predictions``: the first right one of each class, then ``MAX_MISTAKES`` wrong ones."""
    right = predictions.predicted == predictions.labels
    firsts = [
        np.flatnonzero(right & (predictions.labels == k))[:1] for k in range(len(predictions.class_names))
    ]
    return np.concatenate([*firsts, np.flatnonzero(~right)[:MAX_MISTAKES]]).tolist()


@torch.inference_mode()
def weigh_frames(
    model: nn.Module, clip: Clip, *, mean: tuple[float, ...], std: tuple[float, ...]
) -> list[float]:
    """Returns the shares (T,) of [CLS]'s attention among the frames in the last layer, heads averaged."""
    frames = normalize(clip.frames[None], mean, std)
    weights = model.frame_attention(model.encode_frames(frames), clip.positions[None])  # (L, 1, N, T)
    shares = weights[-1, 0].mean(dim=0)  # (T,)
    return (shares / shares.sum()).tolist()
