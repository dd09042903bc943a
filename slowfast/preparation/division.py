"""Random division of videos into parts with equal class distributions, without dividing groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # keeps `--help` fast
    import numpy as np
    from numpy.typing import NDArray


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
