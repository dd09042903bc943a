"""Temporal plans, compared with PySlowFast's formulas and with their documented properties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slowfast.datasets.views.sampling import (
    centre_clip,
    evenly_spaced,
    random_clip,
    spread_clip,
    spread_part,
    view_clip,
    whole_video,
)
from slowfast.datasets.views.view_reader import TrainingViews, ViewReader, WholeVideoViews
from slowfast.video.frame_times import FrameTimes
from tests.support.videos import read_stamps, write_video


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
    rng = np.random.default_rng(0)
    starts = [random_clip(constant(140, 25), **RATE_8, rng=rng)[0] for _ in range(2600)]
    np.testing.assert_allclose(np.bincount(starts), [200] * 13, rtol=0.25)  # n − L = 12


def test_the_centre_clip_lies_in_the_centre() -> None:
    clip = centre_clip(constant(250, 25), **RATE_8)
    assert clip[0] == 61
    assert clip[-1] == 61 + 127


def test_a_short_video_gives_each_of_its_frames_once() -> None:
    clip = view_clip(constant(40, 25), **RATE_8, view=0, num_views=1)
    np.testing.assert_array_equal(clip, [0, 8, 16, 25, 33])
    slow = view_clip(constant(40, 1), num_frames=4, sampling_rate=1, target_fps=25, view=0, num_views=1)
    assert slow.tolist() == [0]  # 0.16 seconds


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


def test_every_frame_is_taken_at_the_target_rate() -> None:
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


# -------------------------------------------------------------------------------- variable frame rates

# Milliseconds of a recording with a pause, and of a webcam whose exposure grows in the dark.
PAUSE = [40 * i for i in range(50)] + [60000 + 40 * i for i in range(50)]
WEBCAM = [int(1000 * i / 30) for i in range(150)] + [5000 + 200 * i for i in range(25)]


def recorded(ticks: list[int], last: int) -> FrameTimes:
    times = FrameTimes(np.array(ticks) / 1000, (ticks[-1] + last) / 1000)
    assert not times.is_constant
    return times


@pytest.mark.parametrize("target_fps", [25, 30, 60])
def test_a_recording_with_a_pause_gives_all_of_its_frames(target_fps: float) -> None:
    times = recorded(PAUSE, 40)
    np.testing.assert_array_equal(whole_video(times, 0, target_fps), np.arange(100))
    np.testing.assert_array_equal(whole_video(times, 250, target_fps), np.arange(100))


def test_a_recording_with_a_pause_is_thinned_before_and_behind_it() -> None:
    """Frame 49 is on screen during the pause."""
    frames = whole_video(recorded(PAUSE, 40), 0, 5)
    assert frames.tolist() == [*range(0, 50, 5), 49, *range(50, 100, 5)]


def test_frames_of_a_recording_with_a_pause_come_from_both_of_its_parts() -> None:
    for count in (2, 5, 10, 50, 99):
        frames = whole_video(recorded(PAUSE, 40), count, 25)
        assert len(np.unique(frames)) == count
        assert abs(int((frames < 50).sum()) - count / 2) <= 1


def assert_even_in_time(frames: np.ndarray, on_screen: np.ndarray) -> None:
    """Asserts that points at equal distances are in the N frames, each of which counts at most c seconds.

    c is such that the limited times of all frames add up to N × c.
    """
    low, high = 0.0, on_screen.max()
    for _ in range(60):
        c = (low + high) / 2
        low, high = (c, high) if np.minimum(on_screen, c).sum() > len(frames) * c else (low, c)
    limited = np.minimum(on_screen, c)
    starts = np.cumsum(limited) - limited
    points = np.linspace(0, starts[-1], len(frames))
    assert (starts[frames] <= points + 1e-5 * c).all()
    assert (points <= (starts + limited)[frames] + 1e-5 * c).all()


def test_frames_of_a_varying_rate_are_even_in_time() -> None:
    times = recorded(WEBCAM, 200)
    frames = whole_video(times, 20, 25)
    np.testing.assert_allclose(np.diff(times.seconds[frames]), (10 - 0.2) / 19, atol=0.2)


def test_a_lower_rate_is_kept_in_every_second() -> None:
    times = recorded(WEBCAM, 200)
    assert len(whole_video(times, 0, 30)) == 175
    for target_fps in (1, 2, 5):
        frames = whole_video(times, 0, target_fps)
        per_second = np.histogram(times.seconds[frames] + 1e-3, bins=np.arange(11))[0]
        assert per_second.tolist() == [target_fps] * 10
    ten = times.seconds[whole_video(times, 0, 10)]
    assert np.histogram(ten + 1e-3, bins=np.arange(11))[0].tolist() == [10] * 5 + [5] * 5


def test_a_jittering_recording_keeps_its_frames_at_its_own_rate() -> None:
    jitter = np.random.default_rng(0).integers(-6, 7, 300)
    ticks = [round(1000 * i / 30) + int(jitter[i]) * (i > 0) for i in range(300)] + [20000, 20500]
    assert len(whole_video(recorded(ticks, 500), 0, 30)) == 302


@pytest.mark.parametrize("seed", range(8))
def test_a_training_clip_of_a_fast_part_has_distinct_frames(seed: int) -> None:
    """16 frames, two apart at 30 fps, span 1.07 seconds; the slow part has five or six frames for them."""
    times = recorded(WEBCAM, 200)
    clip = random_clip(times, 16, 2, 30, np.random.default_rng(seed))
    start, end = times.seconds[clip[[0, -1]]]
    assert end - start < 1.1
    if end < 5:
        assert np.diff(clip).tolist() == [2] * 15
    if start >= 5:
        assert len(clip) in (5, 6)


def test_views_of_a_video_of_varying_rate_are_placed_evenly_in_time() -> None:
    times = recorded(WEBCAM, 200)
    starts = [times.seconds[view_clip(times, 16, 2, 30, view, 10)[0]] for view in range(10)]
    np.testing.assert_allclose(starts, (10 - 32 / 30) * np.arange(10) / 10, atol=0.2)


@given(
    gaps=st.lists(st.integers(1, 400), min_size=2, max_size=120),
    num_frames=st.integers(1, 130),
    target_fps=st.floats(1, 60),
    seed=st.integers(0, 100),
)
@settings(max_examples=300)
def test_plans_of_any_frame_times_are_valid(
    gaps: list[int], num_frames: int, target_fps: float, seed: int
) -> None:
    seconds = np.concatenate([[0], np.cumsum(gaps[:-1])]) / 1000
    times = FrameTimes(seconds, sum(gaps) / 1000)
    clip = {"num_frames": num_frames, "sampling_rate": 2, "target_fps": target_fps}
    at_rate, uniform = whole_video(times, 0, target_fps), whole_video(times, num_frames, target_fps)
    plans = [random_clip(times, **clip, rng=np.random.default_rng(seed)), centre_clip(times, **clip)]
    for frames in [at_rate, uniform, *plans, view_clip(times, **clip, view=seed % 5, num_views=5)]:
        assert len(frames) >= 1
        assert (np.diff(frames) > 0).all()
        assert 0 <= frames[0] <= frames[-1] < len(seconds)
    assert len(uniform) == min(num_frames, len(seconds))
    if not times.is_constant:
        on_screen = np.diff(seconds, append=times.duration)
        if num_frames < len(seconds):
            assert_even_in_time(uniform, on_screen)
        assert set(np.flatnonzero(on_screen >= 1 / target_fps + 1e-3)) <= set(at_rate)
        # No more frames than the target rate in any stretch: one is due per period, and the first may be
        # late and the last early by less than a period each.
        shown = seconds[at_rate]
        first, last = np.triu_indices(len(shown), 1)
        assert (last - first <= (shown[last] - shown[first] + 2e-3) * target_fps + 2).all()


def test_a_segment_with_a_pause_lasts_as_long_as_it_says() -> None:
    times = recorded(PAUSE, 40)
    for start, end, frames in ((1.0, 4.0, range(25, 50)), (30.0, 61.0, range(49, 75)), (2.5, 3.0, [49])):
        first, segment = times.cut(start, end)
        assert (first, first + segment.num_frames - 1) == (frames[0], frames[-1])
        assert segment.duration == pytest.approx(end - start)
        assert segment.seconds[0] == 0
        assert segment.seconds[-1] == pytest.approx(max(times.seconds[frames[-1]] - start, 0))


def test_a_segment_ends_before_a_frame_that_its_rounded_end_touches() -> None:
    assert constant(100, 25.0).cut(0.4, 0.8005)[1].num_frames == 10
    assert constant(100, 1000.0).cut(0.0, 0.0108)[1].num_frames == 11, "half of a shorter frame"
    first, segment = constant(100, 25.0).cut(1.0, 1.0005)
    assert (first, segment.num_frames) == (25, 1)


def test_the_centres_of_a_segment_begin_with_it() -> None:
    times = FrameTimes(np.array([0.0, 1.0, 9.0]), 10.0, centres=np.array([0.5, 5.0, 9.5]))
    _, segment = times.cut(0.8, 10.0)
    np.testing.assert_allclose(segment.position_seconds, [0.0, 4.2, 8.7])


def test_the_frames_of_a_recording_with_a_pause_are_read(tmp_path: Path) -> None:
    path = write_video(tmp_path / "pause.mp4", 100, ticks=PAUSE)
    rng = np.random.default_rng(0)
    reader = ViewReader(WholeVideoViews(num_frames=0, target_fps=25, short_side=64, crop_size=64))
    frames, positions = reader.read(str(path), 0, 0, rng)
    assert read_stamps(frames.permute(1, 2, 3, 0).numpy()) == positions.tolist() == list(range(100))


def test_a_time_gives_the_frame_on_screen() -> None:
    times = FrameTimes(np.array([0.0, 1.0, 5.0]), 6.0)
    np.testing.assert_array_equal(
        times.at_seconds(np.array([-1, 0, 0.9, 1.0, 4.9, 5.0, 99])), [0, 0, 0, 1, 1, 2, 2]
    )


@settings(max_examples=100)
@given(
    gaps=st.lists(st.floats(1e-5, 0.1), min_size=1, max_size=20),
    fraction=st.floats(0, 0.45),
    late=st.floats(0, 5e-4),
)
def test_times_give_the_frame_on_screen_at_any_rate(gaps: list[float], fraction: float, late: float) -> None:
    """Up to 100,000 frames per second; a time in milliseconds may be half of one late, at up to 1000."""
    starts = np.cumsum([0.0, *gaps[:-1]])
    times = FrameTimes(starts, float(starts[-1] + gaps[-1]))
    np.testing.assert_array_equal(times.at_seconds(starts + fraction * np.array(gaps)), np.arange(len(gaps)))
    rounded = FrameTimes(starts + late, times.duration + late)
    wide = np.diff(starts, prepend=-1.0) > 1.1e-3
    np.testing.assert_array_equal(rounded.at_seconds(starts)[wide], np.arange(len(gaps))[wide])


@settings(max_examples=100)
@given(
    total=st.integers(1, 200), num_frames=st.integers(1, 64), seed=st.integers(0, 5), constant=st.booleans()
)
def test_frames_spread_over_the_video_come_from_equal_parts(
    total: int, num_frames: int, seed: int, constant: bool
) -> None:
    """The rate of a video that is not constant falls, so that its last frames are on screen longest."""
    rng = np.random.default_rng(seed)
    durations = np.ones(total) if constant else np.sort(rng.uniform(0.5, 2.0, total))
    ends = np.cumsum(durations)
    times = FrameTimes(ends - durations, float(ends[-1]))
    frames = spread_clip(times, num_frames, rng)
    assert len(frames) == min(num_frames, total)
    assert (np.diff(frames) > 0).all()
    assert frames[0] >= 0
    assert frames[-1] < total
    part = times.duration / num_frames
    if part >= 3 * durations.max():  # frames of parts of three frames and more are never moved
        starts = np.arange(num_frames) * part
        # The first frame of a part may have begun before it.
        assert ((ends[frames] > starts) & ((ends - durations)[frames] < starts + part)).all()


def test_evenly_spaced_items_include_the_first_and_the_last() -> None:
    assert evenly_spaced(10, 4).tolist() == [0, 3, 6, 9]
    assert evenly_spaced(3, 5).tolist() == [0, 1, 2]


def test_frames_spread_over_the_video_are_random() -> None:
    times = FrameTimes(np.arange(100.0), 100.0)
    drawn = np.array([spread_clip(times, 4, np.random.default_rng(seed)) for seed in range(400)])
    np.testing.assert_allclose(drawn.mean(axis=0), [12, 37, 62, 87], atol=1.5)  # middles of the parts
    assert drawn.min(axis=0).tolist() == [0, 25, 50, 75]
    assert drawn.max(axis=0).tolist() == [24, 49, 74, 99]


def test_frames_spread_over_a_part_lie_within_a_random_stretch_of_that_duration() -> None:
    times = FrameTimes(np.arange(100.0), 100.0)
    drawn = np.array([spread_part(times, 4, 0.5, np.random.default_rng(seed)) for seed in range(400)])
    assert (np.diff(drawn, axis=1) > 0).all()
    assert (drawn[:, -1] - drawn[:, 0]).max() <= 50
    assert drawn.min() <= 2
    assert drawn.max() >= 97
    whole = spread_part(times, 4, 1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(whole, spread_clip(times, 4, np.random.default_rng(0)))


@pytest.mark.parametrize("full_video", [True, False])
def test_the_number_of_frames_of_a_training_clip_is_drawn_from_a_range(full_video: bool) -> None:
    views = TrainingViews(
        num_frames=8, sampling_rate=2, target_fps=10, short_sides=(32, 32), crop_size=32, flip=False,
        inverse_uniform=False, full_video=full_video, frames_range=(3, 6),
    )  # fmt: skip
    times = constant(60, 10)
    rng = np.random.default_rng(0)
    assert {len(views.frames(times, 0, rng)) for _ in range(100)} == {3, 4, 5, 6}
