"""A video that arrives in parts gets the same scores as at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slowfast.datasets.clip import normalize
from slowfast.errors import DecodeError, InputError
from slowfast.video.frame_times import FrameTimes
from tests.support.tiny_models import CLASSES, FEATURE_DIM, SIZE, tiny, video_features
from vtn import VTN, VideoFeatures, VideoStream, score_video

FPS = 5.0


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, SIZE, SIZE, 3), np.uint8)


def times(first: int, end: int) -> np.ndarray:
    return np.arange(first, end) / FPS


@torch.no_grad()
def scores_at_once(model: VTN, frames: np.ndarray) -> np.ndarray:
    """Returns the scores of frames that are encoded and classified in one call."""
    clip = torch.from_numpy(frames).permute(3, 0, 1, 2)[None]
    positions = None
    if model.position_rate is not None:
        positions = torch.round(torch.arange(len(frames)) / FPS * model.position_rate).long()[None]
    logits = model(normalize(clip, model.frame_mean, model.frame_std), positions)
    return logits.softmax(1)[0].numpy()


@pytest.mark.parametrize("rate", [None, 25.0])
def test_frames_can_be_pushed_in_any_number(frames: np.ndarray, rate: float | None) -> None:
    model = tiny(position_rate=rate, position="sinusoidal", chunk_frames=7)
    stream = VideoStream(model)
    first = 0
    for count in (1, 3, 1, 20, 15):
        end = first + count
        stream.push(frames[first:end] if count > 1 else frames[first], times(first, end))
        np.testing.assert_allclose(stream.scores(), scores_at_once(model, frames[:end]), atol=1e-5)
        first = end
    assert (len(stream), stream.seconds) == (40, 39 / FPS)
    np.testing.assert_allclose(stream.scores(last_seconds=3.0), scores_at_once(model, frames[25:]), atol=1e-5)
    np.testing.assert_allclose(stream.scores(last_seconds=99.0), stream.scores(), atol=1e-6)


def test_each_frame_is_encoded_once(frames: np.ndarray) -> None:
    model = tiny(chunk_frames=8)
    seen: list[int] = []
    model.backbone.register_forward_hook(lambda _, images, __: seen.append(len(images[0])))
    stream = VideoStream(model)
    for first in range(0, 40, 20):
        stream.push(frames[first : first + 20], times(first, first + 20))
        stream.scores()
        stream.scores(last_seconds=1.0)
    assert seen == [8, 8, 4] * 2


def test_features_can_be_pushed_in_place_of_frames() -> None:
    video = video_features(30)
    stream = VideoStream(tiny())
    stream.push_features(video.features[:29], video.times.seconds[:29], video.indices[:29])
    stream.push_features(video.features[29].numpy(), video.times.seconds[29], video.indices[29:])
    assert torch.equal(stream.video().features, video.features)
    np.testing.assert_array_equal(stream.video().indices, video.indices)
    assert stream.video().duration == pytest.approx(video.duration)


def test_a_stream_keeps_only_the_newest_seconds() -> None:
    model = tiny()
    stream, video = VideoStream(model, keep_seconds=4.0), video_features(3000)
    most = 0
    for first in range(0, 3000, 3):
        rows = slice(first, first + 3)
        stream.push_features(video.features[rows], 1e6 + video.times.seconds[rows], video.indices[rows])
        most = max(most, stream.video().features.untyped_storage().nbytes())
    assert len(stream) == 20  # four seconds at five frames per second
    assert most <= 3 * 23 * FEATURE_DIM * 4
    alone = VideoStream(model)
    alone.push_features(video.features[-20:], times(0, 20), np.arange(20) * 5)
    np.testing.assert_allclose(stream.scores(), alone.scores(), atol=1e-5)


def test_a_window_shorter_than_a_frame_keeps_the_newest_frame() -> None:
    stream = VideoStream(tiny(), keep_seconds=0.01)
    stream.push_features(torch.zeros(10, FEATURE_DIM), times(0, 10))
    assert len(stream) == 1
    assert stream.scores().shape == (CLASSES,)


@settings(max_examples=40)
@given(
    distances=st.lists(st.floats(0.002, 3), min_size=1, max_size=24),
    pushes=st.lists(st.integers(1, 5), min_size=24, max_size=24),
    keep=st.floats(0.01, 8),
)
def test_kept_seconds_are_the_last_seconds(distances: list[float], pushes: list[int], keep: float) -> None:
    """Both begin with the frame that is displayed at their start, at any times."""
    model, features, seconds = tiny(), video_features(24).features, np.cumsum(distances)
    kept, whole = VideoStream(model, keep_seconds=keep), VideoStream(model)
    first = 0
    for count in pushes:
        if first >= len(seconds):
            break
        rows = slice(first, min(first + count, len(seconds)))
        for stream in (kept, whole):
            stream.push_features(features[: len(seconds)][rows], seconds[rows])
        np.testing.assert_allclose(kept.scores(), whole.scores(last_seconds=keep), atol=1e-5)
        assert len(kept) == len(kept.video().features)
        first = rows.stop


@settings(max_examples=40)
@given(
    start=st.floats(0, 1e5),
    fiftieths=st.lists(st.integers(1, 5), min_size=12, max_size=24),
    keep=st.integers(1, 60),
)
def test_kept_seconds_have_the_positions_of_the_last_seconds(
    start: float, fiftieths: list[int], keep: int
) -> None:
    """Also those half-way between two positions, which another subtraction of times rounds differently."""
    model, features = tiny(position_rate=25.0, position="sinusoidal"), video_features(24).features
    kept, whole = VideoStream(model, keep_seconds=keep / 50), VideoStream(model)
    for row, seconds in enumerate(start + np.cumsum(fiftieths) / 50):
        for stream in (kept, whole):
            stream.push_features(features[row : row + 1], [seconds])
        np.testing.assert_array_equal(kept.scores(), whole.scores(last_seconds=keep / 50))


def test_the_last_seconds_of_a_stream_are_that_part_of_the_whole_video() -> None:
    """The stream begins at 5 s, and its frames are not evenly spaced: a part begins within a frame."""
    model, features = tiny(position_rate=25.0, position="sinusoidal"), video_features(30).features
    seconds = 5.0 + np.cumsum(np.random.default_rng(0).uniform(0.02, 0.6, 30))
    end = seconds[-1] + np.median(np.diff(seconds[-8:]))
    video = VideoFeatures(features, FrameTimes(seconds - seconds[0], end - seconds[0]), np.arange(30))
    stream = VideoStream(model)
    stream.push_features(features, seconds)
    assert stream.video().duration == pytest.approx(video.duration)
    part = video.part(video.duration - 4.7, video.duration)
    np.testing.assert_allclose(stream.scores(last_seconds=4.7), score_video(model, part), atol=1e-6)


def test_a_stream_without_a_frame_has_no_time() -> None:
    with pytest.raises(InputError, match="call push first"):
        _ = VideoStream(tiny()).seconds


def test_a_source_that_decodes_in_a_thread_is_followed(frames: np.ndarray) -> None:
    def decoder() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for first in range(0, 40, 16):
            yield frames[first : first + 16], times(first, min(first + 16, 40))

    model = tiny()
    stream = VideoStream(model)
    assert list(stream.follow(decoder())) == [15 / FPS, 31 / FPS, 39 / FPS]
    np.testing.assert_allclose(stream.scores(), scores_at_once(model, frames), atol=1e-5)


def test_an_error_of_the_source_is_raised_and_earlier_frames_are_kept(frames: np.ndarray) -> None:
    def decoder() -> Iterator[tuple[np.ndarray, float]]:
        yield frames[0], 0.0
        raise DecodeError("video.mp4", "corrupt")

    stream = VideoStream(tiny())
    with pytest.raises(DecodeError, match=r"video\.mp4"):
        list(stream.follow(decoder()))
    assert len(stream) == 1


def test_wrong_arguments_are_refused_and_change_nothing(frames: np.ndarray) -> None:
    stream = VideoStream(tiny())
    wrong: Any
    with pytest.raises(InputError, match="no frame"):
        stream.scores()
    with pytest.raises(InputError, match="a push has no frames"):
        stream.push(frames[:0], [])
    with pytest.raises(InputError, match="a push has no frames"):
        stream.push_features(torch.zeros(0, FEATURE_DIM), [])
    with pytest.raises(InputError, match="uint8"):
        stream.push(frames.astype(np.float32), times(0, 40))
    with pytest.raises(InputError, match=r"seconds have shape \(3,\): must be \(40,\) for 40 frames"):
        stream.push(frames, times(0, 3))
    for seconds in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="must be finite and ascend"):
            stream.push(frames[0], seconds)
    for wrong in ("abc", ["a", "b"], [[0], [1, 2]], None, {}):
        with pytest.raises(InputError, match=r"seconds.* must be"):
            stream.push(frames[:2], wrong)
        with pytest.raises(InputError, match=r"frames (of type|have shape).*: must be"):
            stream.push(wrong, times(0, 2))
    stream.push(frames[:2], times(0, 2))
    with pytest.raises(InputError, match="ascend, also after earlier ones"):
        stream.push(frames[2], 0.2)
    with pytest.raises(InputError, match=r"indices .*: must be finite and ascend, also after earlier ones"):
        stream.push(frames[2], 0.4, [1])
    for features in (torch.zeros(1, 3), torch.zeros(1, FEATURE_DIM, dtype=torch.int64)):
        with pytest.raises(InputError, match=rf"must be .frames, {FEATURE_DIM}. of a float dtype"):
            stream.push_features(features, 0.4)
    for wrong in (0.0, float("nan"), "a"):
        with pytest.raises(InputError, match=f"last_seconds = {wrong!r}"):
            stream.scores(last_seconds=wrong)
        with pytest.raises(InputError, match=f"keep_seconds = {wrong!r}"):
            VideoStream(tiny(), keep_seconds=wrong)
    assert len(stream) == 2


def test_frames_that_the_model_refuses_change_nothing(frames: np.ndarray) -> None:
    model = tiny(position_rate=25.0, position="sinusoidal", chunk_frames=8)
    stream, other = VideoStream(model), VideoStream(model)
    refused = 0

    def refuse_second_chunk(*_: object) -> None:
        nonlocal refused
        refused += 1
        if refused == 2:
            raise MemoryError

    for one in (stream, other):
        one.push(frames[:4], times(0, 4))
    with pytest.raises(InputError, match="pixels"):
        stream.push(np.zeros((1, SIZE + 8, SIZE, 3), np.uint8), 50.0)
    hook = model.backbone.register_forward_pre_hook(refuse_second_chunk)
    with pytest.raises(MemoryError):
        stream.push(frames[4:20], times(104, 120))
    hook.remove()
    assert (len(stream), stream.seconds) == (4, 3 / FPS)
    for one in (stream, other):
        one.push(frames[4:20], times(4, 20))
    np.testing.assert_array_equal(stream.scores(), other.scores())
    np.testing.assert_array_equal(stream.video().times.seconds, other.video().times.seconds)
    assert stream.video().indices.tolist() == list(range(20))


def test_a_pause_of_the_source_drops_no_frame_too_early() -> None:
    stream = VideoStream(tiny(), keep_seconds=60)
    for second in [*range(60), 95]:
        stream.push_features(video_features(1).features[0], second)
    assert len(stream) == 25  # at the seconds 36 to 59, and at 95, which lasts until 96


def test_frames_with_reversed_channels_are_accepted(frames: np.ndarray) -> None:
    model = tiny()
    reversed_view, plain = VideoStream(model), VideoStream(model)
    reversed_view.push(frames[0][..., ::-1], 0.0)
    plain.push(frames[0][..., ::-1].copy(), 0.0)
    np.testing.assert_array_equal(reversed_view.scores(), plain.scores())


def test_a_list_of_frames_is_pushed_like_an_array(frames: np.ndarray) -> None:
    listed, stacked = VideoStream(tiny()), VideoStream(tiny())
    listed.push([*frames[:2]], [0.0, 1.0])  # type: ignore[arg-type]
    stacked.push(frames[:2], [0.0, 1.0])
    np.testing.assert_array_equal(listed.scores(), stacked.scores())
