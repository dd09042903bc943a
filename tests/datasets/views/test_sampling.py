"""Temporal plans, compared with PySlowFast's formulas and with their documented properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slowfast.datasets.views.sampling import centre_clip, random_clip, view_clip, whole_video
from slowfast.video.frame_times import FrameTimes


def constant(num_frames: int, fps: float) -> FrameTimes:
    return FrameTimes(np.arange(num_frames) / fps, num_frames / fps)


RATE_8 = {"num_frames": 16, "sampling_rate": 8, "target_fps": 25}


def test_a_view_takes_the_frames_of_pyslowfast() -> None:
    """250 frames at 25 fps, 16 at rate 8: L = 128; view v starts at 122 v / 5, rounded up to a frame."""
    offsets = np.floor(np.linspace(0, 127, 16)).astype(int)
    starts = [view_clip(constant(250, 25), **RATE_8, view=v, num_views=5)[0] for v in range(5)]
    assert starts == [0, 25, 49, 74, 98]
    np.testing.assert_array_equal(view_clip(constant(250, 25), **RATE_8, view=3, num_views=5), 74 + offsets)


def test_the_clip_of_a_faster_video_spans_the_same_seconds() -> None:
    slow = view_clip(constant(250, 25), **RATE_8, view=0, num_views=1)
    fast = view_clip(constant(500, 50), **RATE_8, view=0, num_views=1)
    assert abs(slow[-1] / 25 - fast[-1] / 50) <= 1 / 25


def test_a_training_clip_starts_anywhere_and_ends_within_the_video() -> None:
    starts = {
        int(random_clip(constant(140, 25), **RATE_8, rng=np.random.default_rng(seed))[0])
        for seed in range(300)
    }
    assert starts == set(range(13))  # n − L = 12


def test_the_centre_clip_lies_in_the_centre() -> None:
    clip = centre_clip(constant(250, 25), **RATE_8)
    assert clip[0] == 61
    assert clip[-1] == 61 + 127


def test_a_short_video_gives_each_of_its_frames_once() -> None:
    clip = view_clip(constant(40, 25), **RATE_8, view=0, num_views=1)
    np.testing.assert_array_equal(clip, [0, 8, 16, 25, 33])


def test_a_variable_frame_rate_keeps_the_time_between_frames() -> None:
    """Reads ten seconds at 25 fps; the second half has only every fifth frame."""
    seconds = np.concatenate([np.arange(0, 5, 0.04), np.arange(5, 10, 0.2)])
    times = FrameTimes(seconds, 10.0)
    clip = view_clip(times, num_frames=10, sampling_rate=25, target_fps=25, view=0, num_views=1)
    assert not times.is_constant
    np.testing.assert_allclose(np.diff(seconds[clip]), 1.0, atol=0.25)


def test_a_video_whose_times_are_rounded_to_milliseconds_is_constant() -> None:
    times = FrameTimes(np.round(np.arange(300) / 29.97, 3), round(300 / 29.97, 3))
    assert times.is_constant
    np.testing.assert_array_equal(whole_video(times, 300, 25), np.arange(300))


@pytest.mark.parametrize(("num_frames", "fps"), [(250, 25), (300, 30), (240, 24), (600, 60)])
def test_a_ten_second_video_in_250_frames_is_the_originals(num_frames: int, fps: float) -> None:
    length = 250 / 25 * fps
    original = np.clip(np.linspace(0, min(num_frames, length - 1), 250), 0, num_frames - 1).astype(int)
    np.testing.assert_array_equal(whole_video(constant(num_frames, fps), 250, 25), np.unique(original))


def test_every_frame_at_the_target_rate() -> None:
    np.testing.assert_array_equal(whole_video(constant(100, 50), 0, 25), np.arange(0, 100, 2))
    np.testing.assert_array_equal(whole_video(constant(100, 12.5), 0, 25), np.arange(100))


@given(
    total=st.integers(1, 400),
    fps=st.floats(1, 120),
    num_frames=st.integers(1, 64),
    rate=st.integers(1, 32),
    seed=st.integers(0, 100),
)
def test_every_plan_gives_distinct_ascending_frames_of_the_video(
    total: int, fps: float, num_frames: int, rate: int, seed: int
) -> None:
    times = constant(total, fps)
    clip = {"num_frames": num_frames, "sampling_rate": rate, "target_fps": 25.0}
    plans = [
        random_clip(times, **clip, rng=np.random.default_rng(seed)),
        centre_clip(times, **clip),
        view_clip(times, **clip, view=seed % 5, num_views=5),
        whole_video(times, num_frames, 25.0),
        whole_video(times, 0, 25.0),
    ]
    for frames in plans:
        assert len(frames) >= 1
        assert (np.diff(frames) > 0).all()
        assert frames[0] >= 0
        assert frames[-1] < total
    assert len(plans[3]) == min(num_frames, total)


@given(total=st.integers(1, 300), fps=st.floats(1, 60), num_frames=st.integers(1, 32), view=st.integers(0, 4))
def test_a_long_enough_video_fills_the_clip(total: int, fps: float, num_frames: int, view: int) -> None:
    times = constant(total, fps)
    length = 8 * num_frames / 25 * fps
    frames = view_clip(times, num_frames, 8, 25.0, view, 5)
    if num_frames <= length <= total:
        assert len(frames) == num_frames


def test_the_frame_on_screen_at_a_time() -> None:
    times = FrameTimes(np.array([0.0, 1.0, 5.0]), 6.0)
    np.testing.assert_array_equal(
        times.at_seconds(np.array([-1, 0, 0.9, 1.0, 4.9, 5.0, 99])), [0, 0, 0, 1, 1, 2, 2]
    )
