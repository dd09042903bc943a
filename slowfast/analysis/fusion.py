"""Late fusion: the weighted mean of the scores of several tests of the same videos.

Shapes: V videos, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from slowfast.engine.prediction_file import Predictions
from slowfast.errors import DataError


def fuse(predictions: Sequence[Predictions], weights: Sequence[float] | None = None) -> Predictions:
    """Returns the weighted mean of scores, for the videos that have scores in all tests.

    Args:
        predictions: one for each test, with the same classes; videos are matched by their id and path.
        weights: one per test, above 0 and finite; None: equal weights.

    Raises:
        DataError: if classes or labels differ, or no video has scores in all tests.
    """
    first = predictions[0]
    weights = [1.0] * len(predictions) if weights is None else list(weights)

    # Find the videos that all tests have, and their rows (V,) in each test.
    row_of_video = [_rows_by_video(test) for test in predictions]
    videos = [video for video in row_of_video[0] if all(video in known for known in row_of_video)]
    if not videos:
        raise DataError(
            "the predictions have no common video; use tests of the same list, since videos are matched by "
            "their row and path in the list"
        )
    rows = [np.array([known[video] for video in videos]) for known in row_of_video]

    for test, chosen in zip(predictions, rows, strict=True):
        _check_same_task(first, rows[0], test, chosen)
    class_names = _common_names(predictions)

    tests = list(zip(weights, predictions, rows, strict=True))
    scores = sum(weight * test.scores[chosen] for weight, test, chosen in tests)
    return Predictions(
        video_ids=first.video_ids[rows[0]],
        paths=[first.paths[row] for row in rows[0]],
        labels=first.labels[rows[0]],
        scores=np.asarray(scores / sum(weights), dtype=np.float32),
        num_views=np.sum([test.num_views[chosen] for _, test, chosen in tests], axis=0),
        class_names=class_names,
        broken=(),
        groups=tuple(first.groups[row] for row in rows[0]) if first.groups else (),
        segments=None if first.segments is None else first.segments[rows[0]],
        meta={"fused": len(predictions), "weights": weights},
    )


def _check_same_task(
    first: Predictions, first_rows: NDArray[np.intp], other: Predictions, rows: NDArray[np.intp]
) -> None:
    """Raises ``DataError`` unless both tests have as many classes, and the same labels in these rows."""
    if other.scores.shape[1] != first.scores.shape[1]:
        raise DataError(
            f"the predictions have {first.scores.shape[1]} and {other.scores.shape[1]} classes; "
            "fuse tests of one task"
        )
    if not np.array_equal(other.labels[rows], first.labels[first_rows]):
        raise DataError(
            "the predictions have different labels for the same videos; use tests of the same list"
        )


def _common_names(predictions: Sequence[Predictions]) -> list[str]:
    """Returns the class names; tests without names, which save indices instead, fit to any names.

    Raises:
        DataError: where two tests have other classes, or the same classes in another order.
    """
    indices = [str(k) for k in range(len(predictions[0].class_names))]
    named = [test.class_names for test in predictions if test.class_names != indices]
    for other in named[1:]:
        if other != named[0]:
            k = next(k for k, (name, own) in enumerate(zip(other, named[0], strict=True)) if name != own)
            raise DataError(
                f"the predictions have different classes: class {k} is {named[0][k]!r} in one and "
                f"{other[k]!r} in another; test with the same DATA.CLASS_NAMES and the same list"
            )
    return named[0] if named else indices


def _rows_by_video(predictions: Predictions) -> dict[tuple[int, str], int]:
    """Returns the row of each video by its id and path."""
    videos = zip(predictions.video_ids.tolist(), predictions.paths, strict=True)
    return {video: row for row, video in enumerate(videos)}
