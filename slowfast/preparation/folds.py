"""Folds of a cross-validation: each video is tested once, by a model trained without its group.

Fold k has the lists ``fold_k/train.csv``, ``val.csv`` and ``test.csv`` of one set of videos. ``slowfast run
--fold k`` uses them, and ``slowfast analyze folds`` summarises the tests.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from slowfast.errors import DataError, UsageError
from slowfast.preparation.division import divide

VAL_FRACTION = 0.15
"""Default fraction of the videos that are not tested in a fold, for its validation."""
_MAX_LISTED = 5
# More are a mistake, such as groups that were forgotten; the work grows with the square of their number.
_MOST_FOLDS = 1000


@dataclass(frozen=True)
class Fold:
    """The videos of one fold, as ascending indices into the list.

    Attributes:
        train, val, test: the three parts; they share no group.
    """

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]

    @property
    def parts(self) -> dict[str, tuple[int, ...]]:
        """The parts by the names of their lists."""
        return {"train": self.train, "val": self.val, "test": self.test}


def make_folds(
    labels: Sequence[str], groups: Sequence[str], num_folds: int, *, val_fraction: float | None, seed: int
) -> list[Fold]:
    """Divides videos into folds of whole groups, the classes as equally as the groups allow.

    Args:
        labels, groups: one per video.
        num_folds: 2 or more; 0: each group is a fold, in the order of their names (leave one group out).
        val_fraction: fraction of the videos that are not tested in a fold, for its validation; None:
            :data:`VAL_FRACTION`, but at least one group.
        seed: of the random divisions.

    Raises:
        UsageError: for fewer groups than folds, for more than 1,000 folds, and for a fraction that leaves no
            video for the validation.
        DataError: for a fold without videos to train on or to test.
    """
    names = sorted(set(groups))
    if (count := num_folds or len(names)) > _MOST_FOLDS:
        raise UsageError(
            f"{count} folds, each of which is a training of its own: must be at most {_MOST_FOLDS}; use "
            "--folds with a smaller number, or name the groups in a column of the list, or by --group-by"
        )
    fraction = VAL_FRACTION if val_fraction is None else val_fraction
    if num_folds == 0:
        number = {name: fold for fold, name in enumerate(names)}
        assigned = [number[group] for group in groups]
    else:
        if len(names) < num_folds:
            raise UsageError(
                f"--folds {num_folds}: must be at most the number of groups, which is {len(names)}; use "
                "fewer folds, or a finer grouping"
            )
        assigned = divide(labels, groups, [1 / num_folds] * num_folds, seed=seed)
    folds = []
    for fold in range(num_folds or len(names)):
        test = tuple(video for video, part in enumerate(assigned) if part == fold)
        rest = [video for video, part in enumerate(assigned) if part != fold]
        parts = divide(
            [labels[video] for video in rest],
            [groups[video] for video in rest],
            [1 - fraction, fraction],
            seed=seed,
        )
        train = tuple(video for video, part in zip(rest, parts, strict=True) if part == 0)
        val = tuple(video for video, part in zip(rest, parts, strict=True) if part == 1)
        if not val and val_fraction is None:
            chosen = _choose_group(train, labels, groups, seed=seed + fold)
            val = tuple(video for video in train if groups[video] == chosen)
            train = tuple(video for video in train if groups[video] != chosen)
        _check_parts(fold, train=train, val=val, test=test, val_fraction=fraction)
        folds.append(Fold(train, val, test))
    return folds


def _choose_group(videos: Sequence[int], labels: Sequence[str], groups: Sequence[str], *, seed: int) -> str:
    """Returns a random one of the groups whose removal leaves most classes, and of these most videos."""
    members: dict[str, list[int]] = defaultdict(list)
    for video in videos:
        members[groups[video]].append(video)
    total = Counter(labels[video] for video in videos)

    def loss(group: str) -> tuple[int, int]:
        held = Counter(labels[video] for video in members[group])
        return sum(held[label] == total[label] for label in held), len(members[group])

    names = sorted(members)
    random.Random(seed).shuffle(names)
    return min(names, key=loss)


def _check_parts(
    fold: int,
    *,
    train: Sequence[int],
    val: Sequence[int],
    test: Sequence[int],
    val_fraction: float,
) -> None:
    """Raises ``DataError`` for a fold with an empty part."""
    if not test or not train:
        raise DataError(
            f"fold {fold} has {len(train)} videos to train on and {len(test)} to test; use fewer folds, or a "
            "finer grouping"
        )
    if not val:
        raise UsageError(
            f"--val-fraction {val_fraction}: leaves no group for the validation of fold {fold}; use a larger "
            "fraction, or a finer grouping"
        )


def describe_fold(number: int, fold: Fold, classes: Sequence[Sequence[str]]) -> str:
    """Returns one line with the sizes of a fold, and the classes that its training lacks.

    Args:
        classes: of each video, one or more.
    """
    sizes = ", ".join(f"{name} {len(videos)}" for name, videos in fold.parts.items())
    known = {name for video in fold.train for name in classes[video]}
    missing = Counter(name for video in fold.test for name in classes[video] if name not in known)
    text = f"fold_{number}: {sizes} videos"
    if missing:
        shown = ", ".join(f"{label} ({count})" for label, count in list(missing.items())[:_MAX_LISTED])
        text += f"; tests classes that are not in its training: {shown}"
    return text
