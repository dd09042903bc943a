"""Late fusion: the scores of several tests of the same videos, as one.

V videos, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slowfast.engine.prediction_file import Predictions
from slowfast.errors import DataError


def fuse(predictions: Sequence[Predictions], weights: Sequence[float] | None = None) -> Predictions:
    """The weighted mean of scores, over the videos that all tests scored.

    Args:
        predictions: of the same classes; videos are matched by their id and path.
        weights: one a test, above 0; None: the same for all.

    Raises:
        DataError: where classes or labels differ, or no video is in all of them.
    """
    first = predictions[0]
    weights = [1.0] * len(predictions) if weights is None else list(weights)
    if len(weights) != len(predictions) or min(weights) <= 0:
        raise DataError(f"weights {weights}: give {len(predictions)} numbers above 0, one a predictions file")
    rows = [_rows_by_video(part) for part in predictions]
    videos = [video for video in rows[0] if all(video in part for part in rows)]
    if not videos:
        raise DataError(
            "the predictions have no video in common; they are matched by row and path of the list"
        )
    places = [np.array([part[video] for video in videos]) for part in rows]
    for part, place in zip(predictions, places, strict=True):
        if part.scores.shape[1] != first.scores.shape[1]:
            raise DataError(
                f"the predictions have {first.scores.shape[1]} and {part.scores.shape[1]} classes; "
                "fuse tests of one task"
            )
        if not np.array_equal(part.labels[place], first.labels[places[0]]):
            raise DataError("the predictions have other labels for the same videos; test on the same list")
    scores = sum(
        weight * part.scores[place] for weight, part, place in zip(weights, predictions, places, strict=True)
    )
    return Predictions(
        video_ids=first.video_ids[places[0]],
        paths=[first.paths[place] for place in places[0]],
        labels=first.labels[places[0]],
        scores=np.asarray(scores / sum(weights), dtype=np.float32),
        num_views=np.sum(
            [part.num_views[place] for part, place in zip(predictions, places, strict=True)], axis=0
        ),
        class_names=first.class_names,
        broken=(),
        meta={"fused": len(predictions), "weights": weights},
    )


def _rows_by_video(predictions: Predictions) -> dict[tuple[int, str], int]:
    videos = zip(predictions.video_ids.tolist(), predictions.paths, strict=True)
    return {video: row for row, video in enumerate(videos)}
