"""Readers of annotations: one function per format, under the name of its data set."""

from __future__ import annotations

from collections.abc import Callable

from slowfast.datasets.annotations import Annotations
from slowfast.datasets.readers.folders import read_features, read_frames, read_videofolder
from slowfast.datasets.readers.kinetics import read_kinetics
from slowfast.datasets.readers.moments import read_moments
from slowfast.datasets.readers.shards import read_shards
from slowfast.datasets.readers.something import read_ssv2
from slowfast.datasets.readers.source import AnnotationSource
from slowfast.datasets.readers.split_lists import read_hmdb51, read_ucf101

READERS: dict[str, Callable[[AnnotationSource], Annotations]] = {
    "features": read_features,
    "frames": read_frames,
    "hmdb51": read_hmdb51,
    "kinetics": read_kinetics,
    "moments": read_moments,
    "shards": read_shards,
    "ssv2": read_ssv2,
    "ucf101": read_ucf101,
    "videofolder": read_videofolder,
}
"""Name of a data set -> reader of one split. Readers raise ``AnnotationError`` with file and line."""
