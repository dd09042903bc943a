"""Bootstrap intervals, compared with scipy where groups are single videos."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from slowfast.cli import probe
from slowfast.metrics.accuracy import mean_average_precision
from slowfast.metrics.intervals import Interval, bootstrap_interval, mean_interval
from slowfast.probe.metrics import METRICS, metric_interval
from slowfast.probe.report import Comparison


def test_single_videos_give_the_interval_of_scipy() -> None:
    values = np.random.default_rng(0).random(80) < 0.7
    own = mean_interval(values.astype(float), [str(n) for n in range(80)])
    expected = bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, random_state=0
    ).confidence_interval
    assert own.value == pytest.approx(values.mean())
    assert own.low == pytest.approx(expected.low, abs=0.02)
    assert own.high == pytest.approx(expected.high, abs=0.02)


def test_equal_videos_of_a_group_count_once() -> None:
    """Ten copies of each video do not make the interval narrower."""
    values = (np.random.default_rng(0).random(40) < 0.6).astype(float)
    names = [str(n) for n in range(40)]
    single = mean_interval(values, names)
    repeated = mean_interval(np.repeat(values, 10), np.repeat(names, 10).tolist())
    assert repeated.low == pytest.approx(single.low, abs=1e-9)
    assert repeated.high == pytest.approx(single.high, abs=1e-9)


def test_samples_without_a_value_are_left_out() -> None:
    def only_first(videos: np.ndarray) -> float:
        return 1.0 if 0 in videos else float("nan")

    assert tuple(bootstrap_interval(only_first, ["a", "b", "c"], samples=200)) == (1.0, 1.0, 1.0)


def test_a_search_without_mistakes_still_has_an_interval_of_the_accuracy() -> None:
    labels, groups = np.arange(2).repeat(5), [str(n) for n in range(10)]
    accuracy = metric_interval(METRICS["accuracy"], labels, labels, groups)
    assert accuracy.percent() == "100.0 [72.2, 100.0]"  # Wilson's for ten of ten
    assert metric_interval(METRICS["macro_f1"], labels, labels, groups).percent() == "100.0 [–]"


@pytest.mark.parametrize(("num_groups", "least"), [(5, 0.88), (20, 0.92)])
def test_intervals_of_few_groups_contain_the_mean_as_often_as_they_state(
    num_groups: int, least: float
) -> None:
    """The percentiles 2.5 and 97.5 of the samples contain it in 83 % and in 92 %."""
    rng = np.random.default_rng(0)
    groups = [str(group) for group in range(num_groups)]
    found = [
        bootstrap_interval(lambda videos, x=x: float(x[videos].mean()), groups, samples=200)
        for x in rng.normal(0, 1, (300, num_groups))
    ]
    assert sum(interval.low <= 0 <= interval.high for interval in found) / 300 > least


def test_intervals_of_average_precision_allow_for_its_bias_over_few_videos() -> None:
    """It is too high over few videos, and the samples are higher still: their percentiles miss 13 of 100."""
    rng = np.random.default_rng(0)
    contained = 0
    for _ in range(100):
        targets = rng.random((30, 4)) < 0.25
        scores = rng.normal(size=(30, 4)) + 1.5 * targets

        def metric(videos: np.ndarray, scores: np.ndarray = scores, targets: np.ndarray = targets) -> float:
            return mean_average_precision(scores[videos], targets[videos])

        interval = bootstrap_interval(metric, [str(video) for video in range(30)], samples=200)
        contained += interval.low <= 0.694 <= interval.high  # the value over 60,000 videos
    assert contained / 100 >= 0.88


def test_one_group_of_videos_gives_no_interval_and_no_winner() -> None:
    values = np.array([1.0, 0.0, 1.0])
    alone = mean_interval(values, ["a"] * 3)
    assert alone.text() == "0.667 [–]"
    assert alone.to_dict() == {"value": alone.value, "low": None, "high": None}
    known = Interval(0.6, 0.5, 0.7)
    text = Comparison("vtn", known, "linear", known, alone).sentence("accuracy")
    assert "nothing shows that vtn is better or worse" in text


def test_the_command_offers_all_metrics() -> None:
    """It lists them itself, since its help is printed without torch."""
    assert tuple(METRICS) == probe.METRICS
