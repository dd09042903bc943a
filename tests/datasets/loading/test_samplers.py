"""The order of samples over epochs and processes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slowfast.datasets.loading.samplers import (
    ClassSampler,
    EvalSampler,
    SampleRef,
    ShardSampler,
    TrainSampler,
)
from slowfast.datasets.shards.member_paths import ShardOrder
from slowfast.errors import ConfigError, DataError

LABELS = np.arange(50) % 7 // 3
BUILD = {
    "shuffled": partial(TrainSampler, 50),
    "by class": partial(ClassSampler, LABELS, power=0.0),
    "by shard": partial(ShardSampler, ShardOrder(np.array([0, 6, 6, 20, 36, 50]), 2)),
}


def epoch_of(sampler: TrainSampler, epoch: int, step: int = 0) -> list[list[SampleRef]]:
    sampler.set_position(epoch, step)
    return list(sampler)


@pytest.mark.parametrize("build", BUILD.values(), ids=BUILD)
def test_a_step_holds_the_same_samples_for_any_number_of_processes(
    build: Callable[..., TrainSampler],
) -> None:
    alone = epoch_of(build(global_batch=12, seed=3), 2)
    for world_size in (2, 3, 4):
        options = {"global_batch": 12, "world_size": world_size, "seed": 3}
        parts = [epoch_of(build(**options, rank=rank), 2) for rank in range(world_size)]
        assert [list(chain(*step)) for step in zip(*parts, strict=True)] == alone


def test_each_sample_occurs_at_most_once_per_epoch() -> None:
    refs = list(chain(*epoch_of(TrainSampler(50, 12), 0)))
    assert len(set(refs)) == 48
    assert all(0 <= ref.index < 50 and ref.epoch == 0 for ref in refs)


@pytest.mark.parametrize("build", BUILD.values(), ids=BUILD)
def test_the_order_is_a_function_of_seed_and_epoch(build: Callable[..., TrainSampler]) -> None:
    first = epoch_of(build(global_batch=10, seed=1), 0)
    later = epoch_of(build(global_batch=10, seed=1), 1)
    assert [ref.index for ref in chain(*later)] != [ref.index for ref in chain(*first)]
    assert epoch_of(build(global_batch=10, seed=2), 0) != first
    assert epoch_of(build(global_batch=10, seed=1), 0) == first


@pytest.mark.parametrize("build", BUILD.values(), ids=BUILD)
def test_an_epoch_can_be_resumed_in_its_middle(build: Callable[..., TrainSampler]) -> None:
    sampler = build(global_batch=10)
    assert epoch_of(sampler, 4, step=3) == epoch_of(sampler, 4)[3:]
    assert len(sampler) == 5
    assert list(build(global_batch=10)) == epoch_of(sampler, 0)


def test_batches_that_cannot_be_divided_or_filled_are_refused() -> None:
    with pytest.raises(ConfigError, match="divisible"):
        TrainSampler(50, 10, world_size=3)
    with pytest.raises(DataError, match=r"3 videos.*TRAIN\.BATCH_SIZE"):
        TrainSampler(3, 4)


@given(
    num_videos=st.integers(1, 40),
    num_views=st.integers(1, 6),
    batch_size=st.integers(1, 9),
    world_size=st.integers(1, 5),
)
def test_evaluation_gives_each_view_exactly_once(
    num_videos: int, num_views: int, batch_size: int, world_size: int
) -> None:
    samplers = [
        EvalSampler(num_videos, num_views, batch_size, rank=r, world_size=world_size)
        for r in range(world_size)
    ]
    shards = [list(chain(*sampler)) for sampler in samplers]
    assert list(chain(*shards)) == list(range(num_videos * num_views))
    assert all(len(sampler) == len(list(sampler)) for sampler in samplers)
    # No video is split over processes.
    videos = [{item // num_views for item in shard} for shard in shards]
    assert sum(len(v) for v in videos) == num_videos
