"""The hash by which a resumed run recognises its list of training videos, wherever the videos are stored.

A checkpoint contains the hash of the labels, of the segments, and of the paths relative to the common folder
of all videos. Checkpoints of the first development versions contain a hash of full paths, which has no prefix
``relative:``; they are compared with such a hash.
"""

from __future__ import annotations

import hashlib

import numpy as np

from slowfast.datasets.video_dataset import ViewDataset

_RELATIVE = "relative:"


def fingerprint(dataset: ViewDataset) -> str:
    """Returns a hash of a data set's relative paths, labels and segments in their order."""
    return _RELATIVE + _hash(dataset, dataset.paths.relative_hash())


def former_fingerprint(dataset: ViewDataset, saved: str) -> str:
    """Returns a hash of full paths if ``saved``, that of a checkpoint, is of that kind; otherwise empty."""
    if not saved or saved.startswith(_RELATIVE):
        return ""
    return _hash(dataset, dataset.paths.content_hash())


def _hash(dataset: ViewDataset, paths: bytes) -> str:
    found = hashlib.sha256(np.ascontiguousarray(dataset.labels).tobytes() + paths)
    if dataset.segments is not None:
        found.update(np.ascontiguousarray(dataset.segments).tobytes())
    return found.hexdigest()
