"""The videos of a list on which a trained model is measured."""

from __future__ import annotations

from slowfast.datasets.annotations import Annotations
from slowfast.datasets.readers.path_label import read_csv
from slowfast.datasets.unusable_videos import check_videos_exist
from slowfast.errors import AnnotationError


def read_split(path: str, num_classes: int, *, separator: str = " ", prefix: str = "") -> Annotations:
    """Returns the full video files of a list of ``path label``.

    Args:
        path, num_classes, separator, prefix: as for :func:`slowfast.datasets.readers.path_label.read_csv`.

    Raises:
        AnnotationError: for a list that cannot be read, and for segments of files.
        DataError: where none of the first videos exists.
    """
    videos = read_csv(
        path,
        num_classes=num_classes,
        separator=separator,
        prefix=prefix,
        separator_key="--separator",
        several_labels="a video must have one label here",
    )
    if videos.segments is not None:
        raise AnnotationError(
            f"{path}: has segments of files (columns of start and end): must have full files; list these, or "
            "cut the segments into files of their own"
        )
    check_videos_exist(videos.paths, prefix_key="--prefix")
    return videos
