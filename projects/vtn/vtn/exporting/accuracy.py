"""Accuracies of a model and of its exported files on the videos of a list."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slowfast.datasets.video_list import read_list
from slowfast.errors import AnnotationError, DataError
from slowfast.progress import Progress
from vtn.predictor.predictor import Predictor


@dataclass(frozen=True)
class LabelledVideo:
    """A video and its class.

    Attributes:
        path: of the video.
        label: number of the class, from 0.
    """

    path: str
    label: int


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of one form of a model.

    Attributes:
        name: of the form.
        correct, total: numbers of videos; those that cannot be predicted are not in ``total``.
    """

    name: str
    correct: int
    total: int

    @property
    def top1(self) -> float:
        """Fraction of the videos whose best class is their label."""
        return self.correct / self.total


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


def measure_accuracies(
    predictors: Mapping[str, Predictor], videos: Sequence[LabelledVideo], *, show_progress: bool = False
) -> list[Accuracy]:
    """Returns the accuracy of each form of a model.

    Raises:
        DataError: where no video can be predicted.
    """
    accuracies = []
    paths = [video.path for video in videos]
    for name, predictor in predictors.items():
        correct = total = 0
        error = ""
        with Progress(len(videos), f"accuracy of {name}", "video", enabled=show_progress) as progress:
            for video, result in zip(videos, predictor.stream(paths), strict=True):
                progress.update()
                if result.error:
                    error = result.describe()
                    continue
                total += 1
                correct += result.top(1)[0].index == video.label
        if not total:
            raise DataError(f"no video of the test split can be predicted: {error}")
        accuracies.append(Accuracy(name, correct, total))
    return accuracies
