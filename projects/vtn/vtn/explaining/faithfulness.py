"""Faithfulness of rankings of frames: deletion and insertion curves, and the areas under them.

If the frames that a ranking names first matter, the score falls soon when they are deleted first, and rises
soon when they alone are shown and others are added in order (Petsiuk, Das and Saenko 2018, arXiv 1806.07421,
section 4.3, with frames in place of pixels). A small area under the deletion curve and a large one under the
insertion curve are good; the order to compare with is a random one.

T frames, S steps of a curve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slowfast.datasets.views.sampling import evenly_spaced
from vtn.explaining.frame_scorer import FrameScorer

MAX_STEPS = 20
"""Points of a curve; videos of fewer frames have a point per frame."""

RANDOM_ORDERS = 5
RANDOM = "random"


@dataclass(frozen=True, eq=False)
class Curve:
    """The score of one class while frames are deleted, or inserted.

    Attributes:
        fractions: (S,) float64, ascending, the fraction of the frames that are deleted: 0 to (T − 1) / T; or
            shown: 1 / T to 1.
        scores: (S,) float64.
    """

    fractions: NDArray[np.float64]
    scores: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Mean height of the curve: the area by the trapezoidal rule over the width."""
        # NumPy 1 and 2 have different names for this rule.
        heights = (self.scores[1:] + self.scores[:-1]) / 2
        return float(np.average(heights, weights=np.diff(self.fractions)))


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """The curves of one ranking.

    Attributes:
        deletion, insertion: see :class:`Curve`.
    """

    deletion: Curve
    insertion: Curve


def measure_faithfulness(
    scorer: FrameScorer, label: int, rankings: Mapping[str, NDArray[np.floating]]
) -> dict[str, Faithfulness]:
    """Returns the curves of rankings by name, and as ``random`` the mean of ``RANDOM_ORDERS`` random ones.

    It takes :func:`count_passes` passes of the encoder.

    Args:
        label: the class, 0 … K − 1.
        rankings: name -> (T,) values; frames with higher values come first, equal ones in order of time.
    """
    frames = np.flatnonzero(scorer.decoded)
    orders = [frames[np.argsort(-values[frames], kind="stable")] for values in rankings.values()]
    rng = np.random.default_rng(0)  # the same orders for the same number of frames
    orders += [rng.permutation(frames) for _ in range(RANDOM_ORDERS)]
    counts = _counts(len(frames))
    kept = np.concatenate([_kept(scorer.num_frames, order, counts) for order in orders])
    scores = scorer.scores(kept)[:, label].astype(np.float64)
    # (orders, deletion or insertion, S)
    curves = scores.reshape(len(orders), 2, len(counts))
    named = [*curves[: len(rankings)], curves[len(rankings) :].mean(0)]
    return {
        name: Faithfulness(
            Curve(counts / len(frames), deletion), Curve((1 + counts) / len(frames), insertion)
        )
        for name, (deletion, insertion) in zip([*rankings, RANDOM], named, strict=True)
    }


def count_passes(num_frames: int, num_rankings: int) -> int:
    """Returns the number of passes of the encoder that :func:`measure_faithfulness` needs."""
    return 2 * len(_counts(num_frames)) * (num_rankings + RANDOM_ORDERS)


def _counts(num_frames: int) -> NDArray[np.int64]:
    """Returns the numbers (S,) of frames that are deleted at each point, 0 to T − 1."""
    return evenly_spaced(num_frames, MAX_STEPS)


def _kept(num_frames: int, order: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns the kept frames (2 · S, T) of a deletion curve, then of an insertion curve."""
    rank = np.full(num_frames, num_frames)
    rank[order] = np.arange(len(order))
    deleted = counts[:, None]
    known = rank < len(order)
    return np.concatenate([known & (rank >= deleted), rank < deleted + 1])
