"""Accuracies of a model and of its exported files on the videos of a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slowfast.errors import DataError
from slowfast.progress import Progress
from vtn.predictor.labelled import LabelledVideo
from vtn.predictor.predictor import Predictor


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
