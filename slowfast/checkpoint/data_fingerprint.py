"""The hash by which a resumed run recognizes its list of training videos."""

from __future__ import annotations

import hashlib

import numpy as np

from slowfast.datasets.video_dataset import VideoDataset


def fingerprint(dataset: VideoDataset) -> str:
    """Returns a hash of a data set's paths, labels and segments in their order."""
    digest = hashlib.sha256(np.ascontiguousarray(dataset.labels).tobytes() + dataset.paths.digest())
    if dataset.segments is not None:
        digest.update(np.ascontiguousarray(dataset.segments).tobytes())
    return digest.hexdigest()
