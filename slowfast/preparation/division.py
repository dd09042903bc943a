"""Random division of videos into parts with equal class distributions, without dividing groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence


def divide(
    labels: Sequence[str], groups: Sequence[str], fractions: Sequence[float], *, seed: int
) -> list[int]:
    """Assigns each video to a part so that each part gets its fraction of each class.

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
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    order.sort(key=lambda i: -len(members[names[i]]))  # stable: equal sizes stay in random order
    totals = np.bincount([classes[label] for label in labels], minlength=len(classes))
    lacking = np.outer(fractions, totals)  # (parts, classes), videos still wanted
    parts = [0] * len(labels)
    for i in order:
        videos = members[names[i]]
        held = np.bincount([classes[labels[video]] for video in videos], minlength=len(classes))
        # Fractions that a class still lacks are compared; of equal parts the emptier one is chosen.
        need = (lacking / np.maximum(totals, 1)) @ held
        part = int(np.lexsort((-lacking.sum(axis=1), -need))[0])
        lacking[part] -= held
        for video in videos:
            parts[video] = part
    return parts
