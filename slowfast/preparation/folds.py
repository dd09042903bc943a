"""Divisions of videos that keep groups together: parts, and folds of a cross-validation.

In folds each video is tested once, by a model trained without its group.

Fold k has the lists ``fold_k/train.csv``, ``val.csv`` and ``test.csv`` of one set of videos. ``slowfast run
--fold k`` uses them, and ``slowfast analyze folds`` summarises the tests.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slowfast.errors import DataError, UsageError

if TYPE_CHECKING:  # keeps `--help` fast
    import numpy as np
    from numpy.typing import NDArray

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
    return [
        _make_fold(fold, assigned, labels, groups, val_fraction=val_fraction, seed=seed)
        for fold in range(count)
    ]


def _make_fold(
    number: int,
    assigned: Sequence[int],
    labels: Sequence[str],
    groups: Sequence[str],
    *,
    val_fraction: float | None,
    seed: int,
) -> Fold:
    """Returns the fold that tests the videos which are assigned to it, and divides the others.

    Args:
        assigned: number of the fold that tests each video.
        labels, groups, val_fraction, seed: see :func:`make_folds`.
    """
    fraction = VAL_FRACTION if val_fraction is None else val_fraction
    test = tuple(video for video, fold in enumerate(assigned) if fold == number)
    rest = [video for video, fold in enumerate(assigned) if fold != number]
    own_labels, own_groups = [labels[video] for video in rest], [groups[video] for video in rest]
    parts = divide(own_labels, own_groups, [1 - fraction, fraction], seed=seed)
    val = tuple(video for video, part in zip(rest, parts, strict=True) if part == 1)
    if rest and not val and val_fraction is None:
        chosen = _choose_group(rest, labels, groups, seed=seed + number)
        val = tuple(video for video in rest if groups[video] == chosen)
    held = set(val)
    train = tuple(video for video in rest if video not in held)
    if not test or not train:
        raise DataError(
            f"fold {number} has {len(train)} videos to train on and {len(test)} to test; use fewer folds, or "
            "a finer grouping"
        )
    if not val:
        raise UsageError(
            f"--val-fraction {fraction}: leaves no group for the validation of fold {number}; use a larger "
            "fraction, or a finer grouping"
        )
    return Fold(train, val, test)


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


def divide(
    labels: Sequence[str], groups: Sequence[str], fractions: Sequence[float], *, seed: int
) -> list[int]:
    """Assigns each video to a part so that each part gets its fraction of each class and of all videos.

    Groups are assigned in a random order, large ones first, each to the part that lacks most of its classes.
    The label of a video is compared as text, several labels as one text.

    Args:
        labels, groups: one per video.
        fractions: one per part; their sum is 1.

    Returns:
        The number of the part of each video.
    """
    import numpy as np  # here, so that `--help` stays fast

    classes = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    members: dict[str, list[int]] = defaultdict(list)
    for video, group in enumerate(groups):
        members[group].append(video)
    names = sorted(members)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(names)).tolist()
    order.sort(key=lambda i: -len(members[names[i]]))  # stable: equal sizes stay in random order
    totals = np.bincount([classes[label] for label in labels], minlength=len(classes))
    lacking = _apportion(totals, fractions, rng)  # (parts, classes), videos still wanted
    left = totals.copy()
    # Videos that finished classes would have given to each part: groups are not divided.
    owed = np.zeros(len(fractions))
    parts = [0] * len(labels)
    for i in order:
        videos = members[names[i]]
        held = np.bincount([classes[labels[video]] for video in videos], minlength=len(classes))
        # Fractions that a class still lacks are compared; of equal parts the emptier one is chosen.
        need = ((lacking + owed[:, None]) / np.maximum(totals, 1)) @ held
        part = int(np.lexsort((-lacking.sum(axis=1), -need))[0])
        lacking[part] -= held
        left -= held
        if (finished := (held > 0) & (left == 0)).any():
            owed += lacking[:, finished].sum(axis=1)
        for video in videos:
            parts[video] = part
    return parts


def _apportion(
    totals: NDArray[np.int64], fractions: Sequence[float], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Returns the number of videos (parts, classes) that each part is to have, in whole videos.

    Each number is that of the fraction, rounded up or down. What rounding takes from a part in one class, it
    gets in later ones, so that small classes do not all go to the largest part. That part has at least one
    video of each class, since the classes of the others could not be learned from it.
    """
    import numpy as np

    largest = int(np.argmax(fractions))
    has_largest = sum(fraction == fractions[largest] for fraction in fractions) == 1
    wanted = np.outer(fractions, totals).round(9)
    quotas = np.floor(wanted)
    carried = np.zeros(len(fractions))
    for column in rng.permutation(len(totals)).tolist():
        carried += wanted[:, column] - quotas[:, column]
        remaining = int(totals[column] - quotas[:, column].sum())
        claims = carried.copy()
        if has_largest and quotas[largest, column] == 0:
            claims[largest] = np.inf
        first = np.argsort(-claims, kind="stable")[:remaining]
        quotas[first, column] += 1
        carried[first] -= 1
    return quotas
