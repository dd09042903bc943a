"""Accuracies of a model and of its exported files on the videos of a list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slowfast.datasets.annotations import Annotations
from slowfast.errors import DataError
from slowfast.progress import Progress
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
    predictors: Mapping[str, Predictor], videos: Annotations, *, show_progress: bool
) -> list[Accuracy]:
    """Returns the accuracy of each form of a model.

    Raises:
        DataError: where no video can be predicted.
    """
    accuracies = []
    paths = list(videos.paths)
    for name, predictor in predictors.items():
        correct = total = 0
        error = ""
        with Progress(len(videos), f"accuracy of {name}", "video", enabled=show_progress) as progress:
            for number, result in enumerate(predictor.stream(paths)):
                progress.update()
                if result.error:
                    error = result.describe()
                    continue
                total += 1
                correct += result.top(1)[0].index == videos.label(number)
        if not total:
            raise DataError(f"no video of the test split can be predicted: {error}")
        accuracies.append(Accuracy(name, correct, total))
    return accuracies
