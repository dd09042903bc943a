"""Intervals of mean average precision contain the value over very many videos as often as they state."""

from __future__ import annotations

import numpy as np
import pytest

from slowfast.engine.video_scores import VideoScores


def scores_of(labels: np.ndarray, scores: np.ndarray, groups: tuple[str, ...] = ()) -> VideoScores:
    """Returns the scores of videos with one view each, and their labels (V, K)."""
    return VideoScores(
        video_ids=np.arange(len(labels)),
        scores=scores.astype(np.float32),
        labels=labels.astype(np.float32),
        num_views=np.ones(len(labels), np.int64),
        broken=(),
        groups=groups,
    )


def draw(
    rng: np.random.Generator, num_groups: int, size: int, num_classes: int, distance: float
) -> VideoScores:
    """Returns videos of one class each; those of one group have errors in common."""
    videos = num_groups * size
    labels = np.eye(num_classes)[rng.integers(num_classes, size=videos)]
    common = rng.normal(size=(num_groups, num_classes)).repeat(size, axis=0)
    own = rng.normal(size=(videos, num_classes))
    noise = own if size == 1 else 0.3**0.5 * common + 0.7**0.5 * own
    names = tuple(str(group) for group in np.arange(num_groups).repeat(size))
    return scores_of(labels, distance * labels + noise, names if size > 1 else ())


@pytest.mark.parametrize(
    ("num_groups", "size", "num_classes", "distance"),
    [(30, 1, 10, 1.0), (20, 1, 4, 1.0), (100, 1, 10, 1.0), (20, 1, 4, 2.5), (8, 5, 4, 1.5)],
)
def test_intervals_of_few_videos_contain_the_precision_as_often_as_they_state(
    num_groups: int, size: int, num_classes: int, distance: float
) -> None:
    """The percentiles of a bootstrap contained it in 53, 87, 75, 68 and 92 %."""
    rng = np.random.default_rng(0)
    exact = draw(rng, 20_000 // size, size, num_classes, distance).mean_average_precision
    found = [draw(rng, num_groups, size, num_classes, distance).intervals["map"] for _ in range(100)]
    known = [interval for interval in found if interval.is_known]
    assert len(known) > 60
    assert all(0 <= interval.low < interval.high <= 1 for interval in known)
    assert np.mean([interval.low <= exact <= interval.high for interval in known]) >= 0.88


def test_many_videos_are_left_out_in_blocks() -> None:
    """The width is that of the standard deviation over sets of videos."""
    rng = np.random.default_rng(1)
    sets = [draw(rng, 1000, 1, 3, 1.0) for _ in range(40)]
    deviation = np.std([videos.mean_average_precision for videos in sets], ddof=1)
    intervals = [videos.intervals["map"] for videos in sets[:10]]
    width = np.mean([interval.high - interval.low for interval in intervals])
    assert width == pytest.approx(2 * 1.96 * deviation, rel=0.3)


def test_copies_of_a_video_in_one_group_do_not_narrow_the_interval() -> None:
    alone = draw(np.random.default_rng(2), 40, 1, 4, 1.0)
    names = tuple(str(video) for video in np.arange(40).repeat(3))
    copies = scores_of(alone.labels.repeat(3, axis=0), alone.scores.repeat(3, axis=0), names)
    assert copies.intervals["map"] == pytest.approx(alone.intervals["map"], abs=1e-6)


def test_videos_without_a_mistake_and_a_single_group_have_no_interval() -> None:
    labels = np.eye(2).repeat(4, axis=0)
    assert not scores_of(labels, labels).intervals["map"].is_known
    noisy = labels + np.random.default_rng(3).normal(size=labels.shape)
    assert not scores_of(labels, noisy, ("a",) * 8).intervals["map"].is_known
