"""Predictions of tests that were never run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from slowfast.engine.prediction_file import Predictions


def make_predictions(scores: Any, labels: Any, class_names: Sequence[str], **given: Any) -> Predictions:
    """Returns predictions of one view per video, of which none is broken.

    Args:
        scores: (V, K).
        labels: (V,) class indices, or (V, K) for several classes per video.
        given: other attributes, such as ``paths`` in place of ``0.mp4`` ….
    """
    defaults = {
        "video_ids": np.arange(len(scores)),
        "paths": [f"{video}.mp4" for video in range(len(scores))],
        "num_views": np.ones(len(scores), np.int64),
        "broken": (),
        "meta": {},
    }
    return Predictions(
        scores=np.asarray(scores, np.float32),
        labels=np.asarray(labels),
        class_names=list(class_names),
        **{**defaults, **given},
    )
