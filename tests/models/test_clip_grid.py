"""Clips and time steps of sequences of any length.

T frames, t of a clip, u of a time step.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slowfast.errors import ModelError
from slowfast.models.clip_grid import ClipGrid


@st.composite
def grids(draw: st.DrawFn) -> ClipGrid:
    tubelet = draw(st.integers(1, 3))
    frames = tubelet * draw(st.integers(1, 5))
    return ClipGrid(frames, tubelet, tubelet * draw(st.integers(1, 8)))


@given(grid=grids(), T=st.integers(1, 60))
def test_each_time_step_is_taken_from_one_clip_that_contains_it(grid: ClipGrid, T: int) -> None:
    taken = []
    spans = list(grid.spans(T))
    for number, span in enumerate(spans):
        assert 0 <= span.start < span.stop <= min(span.start + grid.frames, T)
        first = span.start // grid.tubelet
        assert grid.first_step(number) == first + span.keep_from
        assert span.keep_to <= grid.num_steps(span.stop - span.start)
        taken += range(first + span.keep_from, first + span.keep_to)
    assert taken == list(range(grid.num_steps(T)))
    assert all(span.stop - span.start == grid.frames for span in spans[:-1]), "only the last may be shorter"


@given(grid=grids(), T=st.integers(1, 60), step=st.integers(0, 60))
def test_work_restarts_at_the_clip_of_a_step(grid: ClipGrid, T: int, step: int) -> None:
    step = min(step, grid.num_steps(T) - 1)
    clip = grid.clip_of_step(step)
    assert grid.first_step(clip) <= step or clip == 0
    assert grid.first_step(clip + 1) > step


def test_overlapping_clips_give_the_steps_in_their_middle() -> None:
    grid = ClipGrid(frames=8, tubelet=1, stride=4)
    spans = list(grid.spans(16))
    assert [(span.start, span.keep_from, span.keep_to) for span in spans] == [(0, 0, 6), (4, 2, 6), (8, 2, 8)]


def test_frames_between_clips_are_left_out() -> None:
    assert ClipGrid(frames=2, tubelet=2, stride=6).used_frames(15).tolist() == [0, 1, 6, 7, 12, 13]


@given(grid=grids(), T=st.integers(1, 30), data=st.data())
def test_a_step_has_the_position_in_the_middle_of_its_real_frames(
    grid: ClipGrid, T: int, data: st.DataObject
) -> None:
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=T, max_size=T)))[None]
    positions = torch.randint(0, 9, (1, T)).cumsum(1)
    expected, real = [], []
    for first in range(0, T, grid.tubelet):
        frames = [i for i in range(first, min(first + grid.tubelet, T)) if mask[0, i]]
        real.append(bool(frames))
        expected.append((positions[0, frames[0]] + positions[0, frames[-1]]).item() // 2 if frames else 0)
    steps = grid.step_mask(mask)
    assert steps is not None
    assert steps[0].tolist() == real
    assert grid.step_positions(positions, mask, T)[0].tolist() == expected
    every = torch.ones_like(mask)
    assert torch.equal(grid.step_positions(positions, None, T), grid.step_positions(positions, every, T))
    assert grid.step_mask(None) is None


@given(grid=grids(), T=st.integers(1, 30))
def test_all_frames_of_a_step_get_its_middle_in_seconds(grid: ClipGrid, T: int) -> None:
    seconds = np.sort(np.random.default_rng(T).random(T)) * 10
    aligned = grid.align(seconds)
    for first in range(0, T, grid.tubelet):
        own = seconds[first : first + grid.tubelet]
        np.testing.assert_allclose(aligned[first : first + grid.tubelet], (own[0] + own[-1]) / 2)


@pytest.mark.parametrize(("frames", "stride", "name"), [(7, 8, "frames"), (8, 3, "stride"), (8, 0, "stride")])
def test_clips_consist_of_whole_time_steps(frames: int, stride: int, name: str) -> None:
    with pytest.raises(ModelError, match=rf"clip {name} = \d: must be a multiple of 2"):
        ClipGrid(frames, 2, stride)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_positions_of_steps_do_not_overflow_small_dtypes(dtype: torch.dtype) -> None:
    largest = min(torch.iinfo(dtype).max, 40_000)
    positions = torch.tensor([[largest - 1, largest]], dtype=dtype)
    assert ClipGrid(4, 2, 4).step_positions(positions, None, 2).tolist() == [[largest - 1]]
