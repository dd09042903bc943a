"""Bootstrap intervals, compared with scipy where groups are single videos."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from slowfast.cli import probe
from slowfast.metrics import bootstrap_interval, mean_interval
from slowfast.probe.metrics import METRICS, metric_interval


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
    scores, labels, groups = np.eye(2).repeat(5, axis=0), np.arange(2).repeat(5), [str(n) for n in range(10)]
    accuracy = metric_interval(METRICS["accuracy"], scores, labels, groups)
    assert accuracy.percent() == "100.0 [72.2, 100.0]"  # Wilson's for ten of ten
    assert metric_interval(METRICS["macro_f1"], scores, labels, groups).percent() == "100.0 [–]"


def test_the_command_offers_all_metrics() -> None:
    """It lists them itself, since its help is printed without torch."""
    assert tuple(METRICS) == probe.METRICS
