"""Intervals of all metrics of a test, over videos and over groups; they hold as often as they state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, t

from slowfast.engine.video_scores import VideoScores
from slowfast.errors import DataError
from slowfast.metrics.intervals import accuracy_interval, mean_interval, student_quantile, wilson_interval

V = 200


def scores_of(labels: Any, scores: Any, groups: tuple[str, ...] = ()) -> VideoScores:
    """Returns the scores of videos with one view each."""
    return VideoScores(
        video_ids=np.arange(len(labels)),
        scores=np.asarray(scores, np.float32),
        labels=labels,
        num_views=np.ones(len(labels), np.int64),
        broken=(),
        groups=groups,
    )


def two_classes(*, repeated: int = 1) -> VideoScores:
    """Returns noisy scores of two classes; each video occurs several times, as one group."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, V // repeated)
    margin = labels + rng.normal(0, 1, len(labels))
    scores = np.stack([-margin, margin], axis=1)
    groups = tuple(str(n) for n in np.repeat(np.arange(len(labels)), repeated))
    return scores_of(np.repeat(labels, repeated), np.repeat(scores, repeated, axis=0), groups)


@pytest.mark.parametrize(("K", "shown"), [(5, "top-1 50.00 %"), (6, "top-1 50.00 %, top-5 50.00 %")])
def test_top5_is_left_out_of_texts_where_it_cannot_be_wrong(K: int, shown: str) -> None:
    scores = np.tile(np.linspace(0.3, 0, K), (2, 1))  # the last class has the lowest score
    assert scores_of(np.array([0, K - 1]), scores).describe_result() == shown


def test_each_metric_lies_within_its_interval() -> None:
    found = two_classes()
    assert set(found.intervals) == {"top1_acc", "balanced_acc", "macro_f1", "auroc"}
    assert found.intervals["top1_acc"].value * 100 == pytest.approx(found.top1)
    for name in ("balanced_acc", "macro_f1"):
        assert found.intervals[name].value * 100 == pytest.approx(found.class_metrics[name])
    assert found.intervals["auroc"].value == found.class_metrics["auroc"]
    for interval in found.intervals.values():
        assert interval.low < interval.value < interval.high


def test_the_interval_of_top1_has_the_width_of_the_binomial_formula() -> None:
    interval = two_classes().intervals["top1_acc"]
    half = 1.96 * np.sqrt(interval.value * (1 - interval.value) / V)
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.1)


@pytest.mark.parametrize(("correct", "count"), [(81, 263), (0, 20), (2, 2), (9, 10)])
def test_the_interval_of_top1_is_wilsons(correct: int, count: int) -> None:
    labels = np.zeros(count, np.int64)
    found = scores_of(labels, np.eye(3)[(np.arange(count) >= correct).astype(int)]).intervals["top1_acc"]
    expected = binomtest(correct, count).proportion_ci(method="wilson")
    assert found == pytest.approx((correct / count, expected.low, expected.high), abs=1e-4)


def test_groups_widen_the_interval_of_top1_as_far_as_their_videos_are_alike() -> None:
    rng = np.random.default_rng(0)
    easy = rng.random(40).repeat(10)  # per group of ten videos
    correct = rng.random(400) < easy
    labels, names = np.zeros(400, np.int64), np.arange(40).repeat(10).astype(str)
    widths = {}
    for name, groups in (("alike", names), ("independent", rng.permutation(names))):
        interval = scores_of(labels, np.eye(2)[(~correct).astype(int)], tuple(groups)).intervals["top1_acc"]
        widths[name] = interval.high - interval.low
    mean = mean_interval(correct.astype(float), names.tolist())
    assert widths["alike"] == pytest.approx(mean.high - mean.low, rel=0.1)
    alone = scores_of(labels, np.eye(2)[(~correct).astype(int)]).intervals["top1_acc"]
    assert alone.high - alone.low == pytest.approx(widths["independent"], rel=0.25)
    assert widths["alike"] > 1.5 * widths["independent"]


@pytest.mark.parametrize("num_groups", [3, 5, 8])
def test_intervals_of_few_groups_contain_the_accuracy_as_often_as_they_state(num_groups: int) -> None:
    """Such as a test of a few persons, of whom some are recognised more easily than others."""
    rng = np.random.default_rng(0)
    names = np.arange(num_groups).repeat(20).astype(str).tolist()
    contained = 0
    for _ in range(400):
        accuracies = rng.beta(1.2, 1.2, num_groups).repeat(20)  # 0.5 in the mean
        interval = accuracy_interval(rng.random(len(names)) < accuracies, names)
        contained += interval.low <= 0.5 <= interval.high
    assert contained / 400 > 0.91


@pytest.mark.parametrize(("correct", "of"), [(1, 2), (1, 3), (2, 3), (1, 7)])
def test_groups_of_equal_accuracy_give_the_interval_of_their_videos(correct: int, of: int) -> None:
    videos = np.tile(np.arange(of) < correct, 6)
    names = np.arange(6).repeat(of).astype(str).tolist()
    assert accuracy_interval(videos, names) == accuracy_interval(videos)


def test_groups_of_one_video_are_videos() -> None:
    correct = np.random.default_rng(0).random(30) < 0.7
    assert accuracy_interval(correct, [str(n) for n in range(30)]) == pytest.approx(
        accuracy_interval(correct)
    )


@pytest.mark.parametrize(("first", "tolerance"), [(1, 1e-3), (10, 2e-4), (20, 2e-5)])
def test_quantiles_of_student_agree_with_scipy(first: int, tolerance: float) -> None:
    for freedom in range(first, 200):
        assert student_quantile(freedom) == pytest.approx(t.ppf(0.975, freedom), abs=tolerance)


def test_a_single_group_counts_as_one_video() -> None:
    low, high = wilson_interval(0.75, 1)
    assert accuracy_interval(np.array([True, True, True, False]), ["a"] * 4) == (0.75, low, high)


def test_a_test_without_a_mistake_gives_no_interval() -> None:
    """Two correct videos of two do not show a balanced accuracy of 100 %."""
    found = scores_of(np.array([0, 1]), np.eye(2))
    assert found.intervals["top1_acc"].low == pytest.approx(0.342, abs=1e-3)
    for name in ("balanced_acc", "macro_f1", "auroc"):
        assert not found.intervals[name].is_known
    text = found.describe_intervals()
    assert "top-1 100.0 [34.2, 100.0] %, balanced accuracy 100.0 [–] %" in text
    assert "AUROC 1.000 [–]" in text
    assert "over videos; [–]: too few videos, or mistakes, for an interval" in text


def test_repeated_videos_of_one_group_do_not_narrow_an_interval() -> None:
    """Four copies of each of 50 videos are as uncertain as the 50 videos."""
    copies = two_classes(repeated=4)
    alone = scores_of(copies.labels[::4], copies.scores[::4])
    for name, interval in alone.intervals.items():
        # That of top-1 also allows for the variance being an estimate of 50 groups.
        tolerance = 5e-3 if name == "top1_acc" else 1e-6
        assert copies.intervals[name] == pytest.approx(interval, abs=tolerance), name
    wide, narrow = copies.intervals["top1_acc"], alone.intervals["top1_acc"]
    assert wide.low <= narrow.low
    assert wide.high >= narrow.high
    assert "50 groups of videos" in copies.describe_intervals()


def test_several_labels_have_an_interval_of_mean_average_precision() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((V, 4)) < 0.3).astype(np.float32)
    found = scores_of(labels, labels + rng.normal(0, 0.7, labels.shape))
    interval = found.intervals["map"]
    assert interval.low < interval.value < interval.high
    assert interval.value == pytest.approx(found.mean_average_precision)


def test_a_test_without_scores_has_no_intervals() -> None:
    assert scores_of(np.zeros(0, np.int64), np.zeros((0, 3))).intervals == {}


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


def test_videos_of_several_classes_have_a_precision_per_class_and_no_confusions() -> None:
    labels = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 0]])
    scores = scores_of(labels, np.array([[0.9, 0.2, 0.1], [0.8, 0.9, 0.1], [0.7, 0.1, 0.1]]))
    np.testing.assert_allclose(scores.per_class, [(1 + 2 / 3) / 2, 1.0, np.nan])
    assert scores.mean_average_precision == pytest.approx(11 / 12)
    assert scores.videos_per_class.tolist() == [2, 2, 0]
    assert scores.class_metrics == {}
    with pytest.raises(DataError, match="use the average precision per class"):
        _ = scores.confusion
