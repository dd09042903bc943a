"""The bootstrap of all samples at once has the intervals of one call per sample."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slowfast.engine.testing import class_intervals as module
from slowfast.engine.testing.class_intervals import class_intervals
from slowfast.metrics.accuracy import balanced_accuracy, confusion_matrix, macro_f1
from slowfast.metrics.intervals import bootstrap_interval


@settings(deadline=None, max_examples=40)
@given(
    videos=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from("abcdef")), min_size=1, max_size=30
    ),
    together=st.sampled_from([1, 50, 1 << 20]),
)
def test_intervals_are_those_of_one_call_per_sample(
    videos: list[tuple[int, int, str]], together: int
) -> None:
    """Also with several videos per group, classes without videos, and samples that are counted in parts."""
    labels, predicted = (np.array([video[i] for video in videos], np.int64) for i in (0, 1))
    groups = [group for _, _, group in videos]
    with patch.object(module, "COUNTED_TOGETHER", together):
        found = class_intervals(predicted, labels, 4, groups, samples=50)
    for name, metric in (("balanced_acc", balanced_accuracy), ("macro_f1", macro_f1)):
        expected = bootstrap_interval(
            lambda drawn, metric=metric: metric(confusion_matrix(predicted[drawn], labels[drawn], 4)),
            groups,
            samples=50,
        )
        assert found[name] == pytest.approx(expected, abs=1e-12, nan_ok=True)
