"""Groups of videos and folds of a cross-validation that do not divide them.

Clips of one source video, one person or one place are alike. If they are in the training and in the test
part, accuracy is too high; therefore they form a group, and a fold has whole groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slowfast.errors import DataError
from slowfast.preparation.split import divide

_MAX_LISTED = 5


def check_group_columns(has_groups: Mapping[str, bool]) -> None:
    """Raises ``DataError`` where some but not all lists have a column of groups.

    The videos of the others would be groups of their own, so that a person of both lists could be learned
    and tested.

    Args:
        has_groups: whether the list of a split has the column, by split.
    """
    lacking = [split for split, has_column in has_groups.items() if not has_column]
    if lacking and len(lacking) < len(has_groups):
        other = next(split for split, has_column in has_groups.items() if has_column)
        raise DataError(
            f"the list of the split {lacking[0]!r}: must have a column of groups, as that of {other!r} has; "
            "add it, or give the groups of all videos with --group-by"
        )


def group_folds(
    labels: Sequence[int], groups: Sequence[str], num_folds: int, seed: int = 0
) -> NDArray[np.int64]:
    """Returns the fold (V,) of each video as :func:`divide_groups`, and checks that all classes are tested.

    Raises:
        DataError: for fewer groups than folds, or a class whose videos are in a single group, which no fold
            can both learn and test.
    """
    names = set(groups)
    if len(names) < num_folds:
        raise DataError(
            f"--folds {num_folds}: must be at most the number of groups, which is {len(names)}; use fewer "
            "folds, a finer grouping, or more videos"
        )
    of_class: dict[int, set[str]] = {}
    for label, group in zip(labels, groups, strict=True):
        of_class.setdefault(int(label), set()).add(group)
    if alone := sorted(label for label, members in of_class.items() if len(members) < 2):
        raise DataError(
            f"class {', '.join(map(str, alone[:_MAX_LISTED]))}: must have videos of 2 groups or more, since "
            "one group cannot be learned and tested; add videos, leave the class out, or use a finer grouping"
        )
    return divide_groups(labels, groups, num_folds, seed)


def divide_groups(
    labels: Sequence[int], groups: Sequence[str], num_folds: int, seed: int = 0
) -> NDArray[np.int64]:
    """Returns the fold (V,) of each video: whole groups, and the classes as equally divided as they allow.

    Each class is in two folds at least, so that it is learned and tested, where the groups allow it.
    """
    parts = divide([str(label) for label in labels], groups, [1 / num_folds] * num_folds, seed=seed)
    numbers = {name: number for number, name in enumerate(sorted(set(groups)))}
    of_group = np.array([numbers[group] for group in groups])
    return _spread_classes(np.array(labels), of_group, np.array(parts, dtype=np.int64))


def _spread_classes(
    labels: NDArray[Any], groups: NDArray[np.int64], folds: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Returns the folds (V,) after moves of groups whose class is in a single fold, small groups first.

    It may stay so: of three groups that share a class each, two are in one of two folds.
    """
    while alone := _single_fold_classes(labels, folds):
        numbers, sizes = np.unique(groups[np.isin(labels, alone)], return_counts=True)
        moves = (
            np.where(groups == number, fold, folds)
            for number in numbers[np.argsort(sizes, kind="stable")]
            for fold in np.argsort(np.bincount(folds), kind="stable")
        )
        better = (moved for moved in moves if len(_single_fold_classes(labels, moved)) < len(alone))
        if (moved := next(better, None)) is None:
            break
        folds = moved
    return folds


def _single_fold_classes(labels: NDArray[Any], folds: NDArray[np.int64]) -> list[Any]:
    return [label for label in np.unique(labels) if len(np.unique(folds[labels == label])) < 2]


def check_disjoint(training: Sequence[str], test: Sequence[str]) -> None:
    """Raises ``DataError`` where a test list shares groups with training, and names them."""
    shared = sorted(set(training) & set(test))
    if shared:
        counts = Counter(test)
        shown = ", ".join(f"{name} ({counts[name]})" for name in shared[:_MAX_LISTED])
        more = f" and {len(shared) - _MAX_LISTED} more" if len(shared) > _MAX_LISTED else ""
        raise DataError(
            f"the test list shares {len(shared)} groups with training: {shown}{more}; its accuracy would be "
            "too high. Move each group into one list, for instance with `slowfast prepare split --group-by`"
        )


def stratified_subset(
    labels: Sequence[str], groups: Sequence[str], num_videos: int, seed: int = 0
) -> list[int]:
    """Returns ascending indices of about ``num_videos`` videos: whole groups, all classes in proportion.

    Raises:
        DataError: where all groups have so many videos that the subset would be empty.
    """
    total = len(labels)
    if num_videos >= total:
        return list(range(total))
    fraction = num_videos / total
    parts = divide(labels, groups, [fraction, 1 - fraction], seed=seed)
    chosen = [video for video, part in enumerate(parts) if part == 0]
    if not chosen:
        raise DataError(
            f"--limit {num_videos}: must be larger, since groups are kept together and the smallest has "
            f"{min(Counter(groups).values())} videos; use a larger number, a finer grouping, or all videos"
        )
    return chosen
