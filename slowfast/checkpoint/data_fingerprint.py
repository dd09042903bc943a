"""The hash by which a resumed run recognises its list of training videos, wherever the videos are stored."""

from __future__ import annotations

import hashlib

import numpy as np

from slowfast.datasets.video_dataset import ViewDataset


def fingerprint(dataset: ViewDataset) -> str:
    """Returns a hash of labels, segments, and paths relative to the common folder of all videos."""
    found = hashlib.sha256(np.ascontiguousarray(dataset.labels).tobytes() + dataset.paths.relative_hash())
    if dataset.segments is not None:
        found.update(np.ascontiguousarray(dataset.segments).tobytes())
    return f"relative:{found.hexdigest()}"
