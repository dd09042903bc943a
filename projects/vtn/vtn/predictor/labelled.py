"""Lists of full videos with their classes, for measurements with a trained model.

K classes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from slowfast.datasets.video_list import read_list
from slowfast.errors import AnnotationError, DataError


@dataclass(frozen=True)
class LabelledVideo:
    """A video and its class.

    Attributes:
        path: of the video.
        label: number of the class, from 0.
    """

    path: str
    label: int


def read_labelled_videos(
    path: str | Path, num_classes: int, *, separator: str = " ", prefix: str = ""
) -> list[LabelledVideo]:
    """Returns the videos of a list of ``path label``.

    Args:
        prefix: folder at which relative paths start; empty: the current one, as in training.

    Raises:
        DataError: where none of the videos exists.
        AnnotationError: for a list that cannot be read, for segments of files, and for labels that are not
            class numbers below K.
    """
    _, rows = read_list(str(path), separator, key="--separator")
    videos = []
    for row in rows:
        if row.start or row.end:
            raise AnnotationError(
                f"{path}, line {row.line}: is a segment of a file; full files are measured: list them "
                "without the columns of start and end"
            )
        if not row.label.isdecimal() or int(row.label) >= num_classes:
            raise AnnotationError(
                f"{path}, line {row.line}: label {row.label!r}: must be a class number from 0 to "
                f"{num_classes - 1}"
            )
        videos.append(LabelledVideo(os.path.join(prefix, row.path), int(row.label)))
    if videos and not any(os.path.exists(video.path) for video in videos):
        raise DataError(
            f"{path}: none of its {len(videos)} videos exists, the first is {videos[0].path}; relative paths "
            "start at the current folder, or at --prefix"
        )
    return videos
