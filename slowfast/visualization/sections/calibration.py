"""Calibration: whether the score of the predicted class is the probability that it is right.

V videos, B bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slowfast.engine.prediction_file import Predictions
from slowfast.visualization.charts import inline_svg, page_figure

NUM_BINS = 15
MIN_VIDEOS = 10
"""Bins of fewer videos are drawn pale: one video that is right would look like a perfect bin."""


@dataclass(frozen=True)
class Calibration:
    """Confidence and accuracy of predictions, in bins of equal width of the confidence.

    Attributes:
        edges: (B + 1,) float64, 0 … 1.
        counts: (B,) int64, videos per bin.
        confidence: (B,) float64, mean score of the predicted class; NaN for bins without videos.
        accuracy: (B,) float64, fraction of correct predictions; NaN for bins without videos.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """Expected calibration error, 0 … 1: Σ n_b / V · |accuracy_b − confidence_b| (Guo et al. 2017, arXiv
        1706.04599, equation 3)."""
        used = self.counts > 0
        gaps = np.abs(self.accuracy[used] - self.confidence[used])
        return float((self.counts[used] * gaps).sum() / self.counts.sum())

    @property
    def mean_confidence(self) -> float:
        """Mean score of the predicted class, 0 … 1."""
        used = self.counts > 0
        return float((self.counts[used] * self.confidence[used]).sum() / self.counts.sum())


def measure_calibration(predictions: Predictions, num_bins: int = NUM_BINS) -> Calibration | None:
    """Returns the calibration; None for scores that are not in 0 … 1, and without videos.

    Args:
        predictions: of videos with one class each.
        num_bins: B.
    """
    scores = predictions.scores
    if len(scores) == 0 or scores.min() < 0 or scores.max() > 1 + 1e-4:
        return None
    confidence = np.minimum(scores.max(axis=1).astype(np.float64), 1.0)
    right = (predictions.predicted == predictions.labels).astype(np.float64)
    edges = np.linspace(0.0, 1.0, num_bins + 1)
    # A confidence at an edge belongs to the bin below it.
    bins = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, num_bins - 1)
    counts = np.bincount(bins, minlength=num_bins)
    sums = (np.bincount(bins, weights=values, minlength=num_bins) for values in (confidence, right))
    means = [np.where(counts > 0, total / np.maximum(counts, 1), np.nan) for total in sums]
    return Calibration(edges, counts.astype(np.int64), *means)


def reliability_chart(calibration: Calibration, name: str) -> str:
    """Returns the accuracy by confidence, with the videos per bin below it, as SVG for the page.

    Bins of fewer than ``MIN_VIDEOS`` videos are pale.

    Args:
        name: of the test.
    """
    with page_figure(height=330) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        used = calibration.counts > 0
        width = 1.0 / len(calibration.counts)
        middles = (calibration.edges[:-1] + calibration.edges[1:]) / 2
        few = calibration.counts < MIN_VIDEOS
        for bins, alpha in ((used & ~few, None), (used & few, 0.3)):
            if not bins.any():
                continue  # an empty plot counts as a point at the edge of the page, and squeezes the axes
            confidence, accuracy = calibration.confidence[bins], calibration.accuracy[bins]
            upper.bar(middles[bins], accuracy, width=0.9 * width, color="#000001", alpha=alpha)
            upper.plot(confidence, accuracy, "o", color="#000002", markersize=5, alpha=alpha)
        upper.plot([0, 1], [0, 1], color="#000012", linestyle="--", linewidth=1.5)
        upper.set_ylim(0, 1)
        upper.set_ylabel("accuracy")
        upper.grid()
        lower.bar(middles, calibration.counts, width=0.9 * width, color="#000012")
        lower.set_xlim(0, 1)
        lower.set_ylabel("videos")
        lower.set_xlabel("score of the predicted class")
        label = f"Reliability of {name}: expected calibration error {calibration.ece:.3f}"
        return inline_svg(figure, label)
