"""Summarises the tests of a cross-validation: mean, spread and intervals over its folds.

Reads the folders fold_0, fold_1 … that `slowfast run --fold K` has written. The spread is the standard
deviation between folds. The interval of a mean is that of Student's t over the K folds, mean ± t s / √K; it
is somewhat too narrow, since the folds share training videos. With predictions files
(TEST.SAVE_RESULTS_PATH) the videos of all folds are also scored together, with intervals over groups of
videos.

examples:
  slowfast analyze folds output/folds
  slowfast analyze folds output/folds --group-by '([^/]*)_[0-9]+[.]mp4$' --json folds.json
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slowfast.cli.options import add_json_option
from slowfast.errors import DataError
from slowfast.files import write_text
from slowfast.visualization.run_log import read_run_log
from slowfast.visualization.text_table import align_columns

if TYPE_CHECKING:
    from slowfast.engine.prediction_file import Predictions

# Name in the log -> (title, decimals). Those in percent have it in their title; the others are in 0 … 1.
METRICS = {
    "top1_acc": ("top-1, %", 1),
    "top5_acc": ("top-5, %", 1),
    "balanced_acc": ("balanced accuracy, %", 1),
    "macro_f1": ("macro-F1, %", 1),
    "auroc": ("AUROC", 3),
    "map": ("mAP", 4),
}
_FOLD = re.compile(r"fold_(\d+)")
# In the table, for a metric that a fold lacks.
_MISSING = "–"


@dataclass(frozen=True)
class FoldResult:
    """The test of one fold.

    Attributes:
        number: of the fold.
        metrics: of its last test, by their names in the log.
        predictions: its file; None without one.
    """

    number: int
    metrics: Mapping[str, Any]
    predictions: Path | None


@dataclass(frozen=True)
class Spread:
    """A metric over K folds.

    Attributes:
        mean: of the folds.
        std: standard deviation between them, with K − 1 in the denominator; NaN for one fold.
        low, high: limits of the 95 % interval of the mean; NaN for one fold.
    """

    mean: float
    std: float
    low: float
    high: float


def spread_of(values: Sequence[float], largest: float = 100.0) -> Spread:
    """Returns mean, standard deviation and the 95 % interval of the mean by Student's t.

    Args:
        largest: possible value of the metric, at which the interval is cut off, as at 0.

    >>> spread = spread_of([70.0, 80.0, 75.0])
    >>> [round(value, 2) for value in (spread.mean, spread.std, spread.low, spread.high)]
    [75.0, 5.0, 62.58, 87.42]
    """
    import numpy as np

    from slowfast.metrics.intervals import student_quantile  # here, since it imports torch

    count, mean = len(values), float(np.mean(values))
    if count < 2:
        return Spread(mean, float("nan"), float("nan"), float("nan"))
    std = float(np.std(values, ddof=1))
    half = student_quantile(count - 1) * std / count**0.5
    return Spread(mean, std, max(mean - half, 0.0), min(mean + half, largest))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this analysis."""
    parser.add_argument("folder", metavar="FOLDER", help="folder that contains fold_0, fold_1 …")
    parser.add_argument(
        "--group-by",
        default="",
        metavar="REGEX",
        help="regular expression that captures the group of a video from its path (default: the groups in "
        "the predictions files)",
    )
    add_json_option(parser, "the summary")


def run(args: argparse.Namespace) -> int:
    """Prints the table and writes the requested file; returns the exit status."""
    folds = find_folds(Path(args.folder))
    spreads = {
        name: spread_of([*values.values()], 100.0 if title.endswith("%") else 1.0)
        for name, (title, _) in METRICS.items()
        if (values := _values(folds, name))
    }
    pooled = pool_predictions(folds, args.group_by)
    for line in [*_table(folds, spreads), *_remarks(folds, spreads)]:
        print(line)
    if pooled is not None:
        print(f"all {len(pooled.labels)} videos: {pooled.describe_intervals()}")
    elif args.group_by:
        raise DataError(
            "--group-by: needs one predictions file in the folder of each fold; set TEST.SAVE_RESULTS_PATH"
        )
    if args.json:
        write_text(args.json, json.dumps(_summary(folds, spreads, pooled), indent=2) + "\n")
        print(args.json)
    return 0


def find_folds(folder: Path) -> list[FoldResult]:
    """Reads the tests of all folds in a folder, by ascending number.

    Raises:
        DataError: without folds, for a missing number, and for a fold without a test.
    """
    numbered = {
        int(match[1]): path for path in folder.glob("fold_*") if (match := _FOLD.fullmatch(path.name))
    }
    if not numbered:
        raise DataError(f"{folder}: contains no folder fold_0; run folds with `slowfast run --fold 0`")
    if missing := set(range(max(numbered) + 1)) - set(numbered):
        raise DataError(
            f"{folder}: lacks fold_{min(missing)}; run it with `slowfast run --fold {min(missing)}`"
        )
    results = []
    for number in sorted(numbered):
        log = read_run_log(numbered[number])
        if not log.test:
            raise DataError(f"{numbered[number]}: has no test yet; finish the run of fold {number}")
        results.append(FoldResult(number, log.test, _predictions_file(numbered[number])))
    return results


def _predictions_file(folder: Path) -> Path | None:
    """Returns the predictions file of a fold; None for none or several.

    Files of the same test in other orders of the frames (``TEST.ORDER_REPORT``) do not count.
    """
    from slowfast.datasets.views.frame_order import REVERSED, SHUFFLED, STILL

    files = {path.stem: path for path in folder.glob("*.npz")}
    others = {f"{stem}_{order}" for stem in files for order in (SHUFFLED, REVERSED, STILL)}
    chosen = [path for stem, path in files.items() if stem not in others]
    return chosen[0] if len(chosen) == 1 else None


def pool_predictions(folds: Sequence[FoldResult], group_by: str) -> Predictions | None:
    """Returns the predictions of all folds as one test; None unless each fold has one predictions file.

    Args:
        group_by: regular expression of groups; empty: those of the files.

    Raises:
        DataError: for files of other classes, and for a video that two folds test.
    """
    import numpy as np

    from slowfast.datasets.groups import groups_by_pattern
    from slowfast.engine.prediction_file import Predictions, load_predictions

    files = [fold.predictions for fold in folds]
    loaded = [load_predictions(file) for file in files if file is not None]
    if len(loaded) < len(folds):
        return None
    first = loaded[0]
    if any(part.class_names != first.class_names for part in loaded):
        raise DataError("the predictions files of the folds have different classes; test folds of one task")
    fold_of: dict[str, int] = {}
    for fold, part in zip(folds, loaded, strict=True):
        for path in dict.fromkeys(part.paths):  # segments of one file have one path
            if (other := fold_of.setdefault(path, fold.number)) != fold.number:
                raise DataError(
                    f"the folds {other} and {fold.number} both test {path}; write folds with `slowfast "
                    "prepare split --folds`"
                )
    paths = [path for part in loaded for path in part.paths]
    groups = tuple(groups_by_pattern(paths, group_by)) if group_by else ()
    if not group_by and all(part.groups for part in loaded):
        groups = tuple(group for part in loaded for group in part.groups)
    segments = [part.segments for part in loaded if part.segments is not None]
    return Predictions(
        video_ids=np.arange(len(paths)),
        scores=np.concatenate([part.scores for part in loaded]),
        labels=np.concatenate([part.labels for part in loaded]),
        num_views=np.concatenate([part.num_views for part in loaded]),
        broken=tuple(video for part in loaded for video in part.broken),
        groups=groups,
        segments=np.concatenate(segments) if len(segments) == len(loaded) else None,
        paths=paths,
        class_names=first.class_names,
        meta={"folds": len(folds)},
    )


def _values(folds: Sequence[FoldResult], name: str) -> dict[int, float]:
    """Returns a metric by the number of the fold; the test of one class, for instance, has no AUROC."""
    found = {fold.number: fold.metrics.get(name) for fold in folds}
    numbers = {number: float(value) for number, value in found.items() if value is not None}
    return {number: value for number, value in numbers.items() if not math.isnan(value)}


def _remarks(folds: Sequence[FoldResult], names: Iterable[str]) -> list[str]:
    """Returns one line per metric that some folds lack."""
    remarks = []
    for name in names:
        values = _values(folds, name)
        lacking = [str(fold.number) for fold in folds if fold.number not in values]
        if lacking:
            ones = f"fold {lacking[0]}" if len(lacking) == 1 else f"the folds {', '.join(lacking)}"
            remarks.append(
                f"{METRICS[name][0].removesuffix(', %')}: over {len(values)} of {len(folds)} folds, since "
                f"the test of {ones} has no value"
            )
    return remarks


def _table(folds: Sequence[FoldResult], spreads: Mapping[str, Spread]) -> list[str]:
    """Returns the lines of the table: one per fold, then mean, spread and interval."""
    formats = [METRICS[name] for name in spreads]
    rows = [["fold", "videos", *(title for title, _ in formats)]]
    for fold in folds:
        values = {name: _values([fold], name).get(fold.number) for name in spreads}
        cells = [_MISSING if v is None else f"{v:.{METRICS[name][1]}f}" for name, v in values.items()]
        rows.append([str(fold.number), str(fold.metrics["videos"]), *cells])
    columns = list(zip(spreads.values(), formats, strict=True))
    total = sum(int(fold.metrics["videos"]) for fold in folds)
    rows.append(["mean", str(total), *(f"{spread.mean:.{digits}f}" for spread, (_, digits) in columns)])
    if len(folds) > 1:
        rows.append(["spread", "", *(f"{spread.std:.{digits}f}" for spread, (_, digits) in columns)])
        limits = [f"{spread.low:.{digits}f} – {spread.high:.{digits}f}" for spread, (_, digits) in columns]
        rows.append(["95 %", "", *limits])
    return align_columns(rows)


def _summary(
    folds: Sequence[FoldResult], spreads: Mapping[str, Spread], pooled: Predictions | None
) -> dict[str, Any]:
    """Returns the content of the JSON file; NaN becomes null."""
    from slowfast.metrics.accuracy import none_if_nan  # here, since it imports torch

    known = {
        name: {
            **{key: none_if_nan(value) for key, value in asdict(spread).items()},
            "folds": [*_values(folds, name)],
        }
        for name, spread in spreads.items()
    }
    summary: dict[str, Any] = {
        "folds": [{"fold": fold.number, **fold.metrics} for fold in folds],
        "metrics": known,
    }
    if pooled is not None:
        intervals = {name: interval.to_dict() for name, interval in pooled.intervals.items()}
        summary["pooled"] = {
            "videos": len(pooled.labels),
            "groups": len(set(pooled.groups)) or None,
            "intervals": intervals,
        }
    return summary
