"""Samplers for unequal classes: exact parts of each class."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slowfast.datasets.loading.samplers import ClassSampler, SampleRef, TrainSampler, describe_left_out
from slowfast.errors import ConfigError

LABELS = np.array([0] * 80 + [1] * 15 + [2] * 5)


def epoch_of(sampler: ClassSampler, epoch: int) -> list[SampleRef]:
    sampler.set_position(epoch)
    return [sample for batch in sampler for sample in batch]


def parts(labels: np.ndarray, samples: list[SampleRef]) -> dict[int, int]:
    return dict(Counter(int(labels[sample.index]) for sample in samples))


def test_all_classes_occur_equally_often() -> None:
    drawn = epoch_of(ClassSampler(LABELS, 10, power=0.0, seed=3), 0)
    assert parts(LABELS, drawn) == {0: 34, 1: 33, 2: 33}
    assert max(Counter(sample.index for sample in drawn if LABELS[sample.index] == 2).values()) == 7
    assert min(Counter(sample.index for sample in drawn if LABELS[sample.index] == 2).values()) == 6


def test_the_square_root_is_between_both() -> None:
    roots = np.sqrt([80, 15, 5])
    drawn = parts(LABELS, epoch_of(ClassSampler(LABELS, 10, power=0.5), 0))
    for label, exact in enumerate(100 * roots / roots.sum()):
        assert abs(drawn[label] - exact) < 1


@settings(max_examples=50)
@given(st.lists(st.integers(0, 3), min_size=8, max_size=60), st.floats(0, 1), st.integers(0, 5))
def test_samples_of_a_class_occur_equally_often_or_once_more(
    labels: list[int], power: float, epoch: int
) -> None:
    array = np.array(labels)
    drawn = epoch_of(ClassSampler(array, 1, power=power), epoch)
    assert len(drawn) == len(labels)
    assert len(set(drawn)) == len(drawn)  # a second occurrence is another sample, whose clip differs
    for label in set(labels):
        counts = Counter(sample.index for sample in drawn if array[sample.index] == label)
        often = [counts[index] for index in np.flatnonzero(array == label)]
        assert max(often) - min(often) <= 1


def test_power_1_takes_each_sample_once() -> None:
    drawn = epoch_of(ClassSampler(LABELS, 10, power=1.0), 4)
    assert sorted(drawn) == [SampleRef(4, index) for index in range(100)]


def test_no_sample_is_said_to_be_left_out_where_samples_are_repeated() -> None:
    assert describe_left_out(TrainSampler(100, 30), 100).startswith("10 of 100 videos are left out")
    assert describe_left_out(ClassSampler(LABELS, 30, power=0.0), 100) == ""


def test_videos_of_several_classes_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"DATA_LOADER\.TRAIN_SAMPLER: must be shuffle for videos of several"
    ):
        ClassSampler(np.zeros((10, 3)), 5, power=0.0)
