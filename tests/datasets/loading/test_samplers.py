"""The order of samples over epochs and processes."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slowfast.datasets.loading.samplers import EvalSampler, SampleRef, TrainSampler
from slowfast.errors import ConfigError, DataError


def epoch_of(sampler: TrainSampler, epoch: int, step: int = 0) -> list[list[SampleRef]]:
    sampler.set_position(epoch, step)
    return list(sampler)


def test_a_step_holds_the_same_samples_for_any_number_of_processes() -> None:
    alone = epoch_of(TrainSampler(50, 12, seed=3), 2)
    for world_size in (2, 3, 4):
        parts = [
            epoch_of(TrainSampler(50, 12, rank=r, world_size=world_size, seed=3), 2)
            for r in range(world_size)
        ]
        assert [list(chain(*step)) for step in zip(*parts, strict=True)] == alone


def test_each_sample_occurs_at_most_once_per_epoch() -> None:
    refs = list(chain(*epoch_of(TrainSampler(50, 12), 0)))
    assert len(set(refs)) == 48
    assert all(0 <= ref.index < 50 and ref.epoch == 0 for ref in refs)


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    first = epoch_of(TrainSampler(50, 10, seed=1), 0)
    assert [[r.index for r in b] for b in epoch_of(TrainSampler(50, 10, seed=1), 1)] != [
        [r.index for r in b] for b in first
    ]
    assert epoch_of(TrainSampler(50, 10, seed=2), 0) != first
    assert epoch_of(TrainSampler(50, 10, seed=1), 0) == first


def test_an_epoch_can_be_resumed_in_its_middle() -> None:
    sampler = TrainSampler(50, 10)
    assert epoch_of(sampler, 4, step=3) == epoch_of(sampler, 4)[3:]
    assert len(sampler) == 5
    assert list(TrainSampler(50, 10)) == epoch_of(sampler, 0)


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
