"""Accuracy, worst classes, confusions and late fusion, from predictions files of tests.

Several files are also fused: the weighted mean of their scores, over the videos that all of them scored.

examples:
  python tools/analyze.py predictions output/quickstart/vtn/predictions.npz
  python tools/analyze.py predictions a.npz --confusion confusion.png --worst 20
  python tools/analyze.py predictions rgb.npz flow.npz --weights 1 1.5 --output fused.npz
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slowfast.analysis import PICTURES
from slowfast.errors import DataError
from slowfast.files import atomic_write

if TYPE_CHECKING:
    from slowfast.engine.prediction_file import Predictions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this analysis."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="predictions (.npz), TEST.SAVE_RESULTS_PATH")
    parser.add_argument(
        "--weights", type=float, nargs="+", metavar="W", help="of the fusion (default: equal)"
    )
    parser.add_argument("--output", metavar="F", help="write the fused predictions there (.npz, and a .csv)")
    parser.add_argument("--worst", type=int, default=10, metavar="N", help="classes to list (default: 10)")
    parser.add_argument(
        "--confusion", metavar="F", help=f"write the confusion matrix as .csv, {', '.join(PICTURES)}"
    )


def run(args: argparse.Namespace) -> int:
    """Prints what the files say, and writes what was asked for."""
    from slowfast.analysis.fusion import fuse
    from slowfast.engine.prediction_file import load_predictions, save_predictions

    loaded = [load_predictions(path) for path in args.files]
    for path, predictions in zip(args.files, loaded, strict=True):
        print(f"{path}: {describe(predictions)}")
    looked_at = loaded[0]
    if len(loaded) > 1:
        looked_at = fuse(loaded, args.weights)
        print(f"fused: {describe(looked_at)}")
    elif args.weights or args.output:
        raise DataError("--weights and --output are for fusion; give several predictions files")
    if args.output:
        save_predictions(args.output, looked_at)
    _print_worst(looked_at, args.worst)
    if looked_at.labels.ndim == 1:
        _print_confusions(looked_at, args.worst)
    if args.confusion:
        write_confusion(args.confusion, looked_at)
    return 0


def describe(predictions: Predictions) -> str:
    """Accuracy and how many videos it is over."""
    videos = f"{len(predictions.scores)} videos"
    if predictions.broken:
        videos += f", {len(predictions.broken)} broken"
    if predictions.labels.ndim == 2:
        from slowfast.metrics import mean_average_precision

        value = mean_average_precision(predictions.scores, predictions.labels > 0)
        return f"mAP {value:.4f} over {videos}"
    top1, top5 = (top_accuracy(predictions, k) for k in (1, 5))
    return f"top-1 {top1:.2f} %, top-5 {top5:.2f} % over {videos}"


def top_accuracy(predictions: Predictions, k: int) -> float:
    """Percent of the videos whose label is among the k highest scores."""
    import torch

    from slowfast.metrics import topk_correct

    scores, labels = torch.from_numpy(predictions.scores), torch.from_numpy(predictions.labels)
    return 100.0 * int(topk_correct(scores, labels, [k])[0]) / max(len(labels), 1)


def _confusion(predictions: Predictions) -> Any:
    from slowfast.metrics import confusion_matrix

    if predictions.labels.ndim == 2:
        raise DataError("videos have several labels each; there is no confusion matrix of that")
    return confusion_matrix(predictions.predicted, predictions.labels, len(predictions.class_names))


def _print_worst(predictions: Predictions, count: int) -> None:
    """The classes of the lowest accuracy (average precision, where videos have several labels)."""
    import numpy as np

    from slowfast.metrics import average_precision, per_class_accuracy

    names = predictions.class_names
    if predictions.labels.ndim == 2:
        targets = predictions.labels > 0
        values = np.array(
            [average_precision(predictions.scores[:, k], targets[:, k]) for k in range(len(names))]
        )
        videos = targets.sum(axis=0)
    else:
        confusion = _confusion(predictions)
        values, videos = per_class_accuracy(confusion), confusion.sum(axis=1)
    known = np.flatnonzero(~np.isnan(values))
    worst = known[np.argsort(values[known], kind="stable")][:count]
    print("\nworst classes:")
    _print_rows([(names[k], f"{100 * values[k]:.1f} %", f"of {videos[k]}") for k in worst])


def _print_confusions(predictions: Predictions, count: int) -> None:
    """The pairs that are mistaken most often."""
    import numpy as np

    confusion = _confusion(predictions)
    np.fill_diagonal(confusion, 0)
    order = np.argsort(-confusion, axis=None, kind="stable")[:count]
    pairs = [divmod(int(place), len(confusion)) for place in order]
    names = predictions.class_names
    print("\nmost often mistaken:")
    _print_rows(
        [(f"{names[a]} for {names[b]}", f"{confusion[a, b]} times", "") for a, b in pairs if confusion[a, b]]
    )


def _print_rows(rows: Sequence[tuple[str, str, str]]) -> None:
    if not rows:
        print("  none")
        return
    width = max(len(row[0]) for row in rows)
    for name, value, remark in rows:
        print(f"  {name:<{width}}  {value:>9}  {remark}".rstrip())


def write_confusion(path: str | Path, predictions: Predictions) -> None:
    """Writes the confusion matrix: counts as ``.csv`` (rows are true classes), or a picture of shares.

    Raises:
        DataError: for another suffix, and where videos have several labels each.
    """
    confusion, names = _confusion(predictions), predictions.class_names
    suffix = Path(path).suffix
    if suffix == ".csv":
        with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(
                [["true", *names], *([names[k], *row] for k, row in enumerate(confusion.tolist()))]
            )
    elif suffix in PICTURES:
        from slowfast.engine.tensorboard import draw_confusion

        with atomic_write(path) as temporary:
            draw_confusion(confusion, names).savefig(temporary)
    else:
        raise DataError(f"--confusion {path}: is of no known kind; use .csv, {', '.join(PICTURES)}")
