"""Scores from features: of a full video and over time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slowfast.errors import InputError
from slowfast.video.frame_times import FrameTimes
from tests.support.tiny_models import CLASSES, FEATURE_DIM, tiny, tiny_average, video_features
from vtn import VideoFeatures, score_video, score_windows
from vtn.inference.prediction import Prediction
from vtn.inference.windows import Timeline, choose_windows, evaluating, window_lengths, window_spans


def scores_alone(model: torch.nn.Module, video: VideoFeatures, start: float, end: float) -> np.ndarray:
    """Returns the scores of a window, computed for its frames alone."""
    keep = (video.times.seconds >= start - 1e-6) & (video.times.seconds < end - 1e-6)
    indices = torch.from_numpy(video.indices[keep])
    logits = model.classify(video.features[keep][None], (indices - indices[0])[None])
    return logits.softmax(1)[0].detach().numpy()


def test_positions_are_frame_indices_or_seconds_times_a_rate() -> None:
    video = video_features(4, fps=5.0)
    assert video.positions(None).tolist() == [0, 5, 10, 15]
    assert video.positions(10.0).tolist() == [0, 2, 4, 6]
    part = video.part(0.4, 99.0)
    assert part.positions(None).tolist() == [0, 5]
    assert part.positions(10.0).tolist() == [0, 2]
    assert part.duration == pytest.approx(0.4)
    assert part.features.data_ptr() == video.features[2:].data_ptr()


def test_features_times_and_indices_must_have_one_length() -> None:
    times = FrameTimes(np.arange(3) / 5, 0.6)
    with pytest.raises(InputError, match="3 times and 2 indices"):
        VideoFeatures(torch.zeros(3, FEATURE_DIM), times, np.arange(2))
    with pytest.raises(InputError, match="ends at"):
        video_features(3).part(7.0, 8.0)


@pytest.mark.parametrize("batch_frames", [1, 37, 4096])
@torch.no_grad()
def test_each_window_is_scored_as_a_video_of_its_own(batch_frames: int) -> None:
    model, video = tiny(), video_features(58)  # 11.6 seconds
    counted: list[int] = []
    timeline = score_windows(model, video, 4.0, 2.0, batch_frames=batch_frames, on_batch=counted.append)
    assert timeline.starts.tolist() == [0, 2, 4, 6, 8]
    np.testing.assert_allclose(timeline.ends, [4, 6, 8, 10, 11.6])
    for start, end, scores in zip(timeline.starts, timeline.ends, timeline.scores, strict=True):
        np.testing.assert_allclose(scores, scores_alone(model, video, start, end), atol=1e-5)
    assert sum(counted) == 5


@pytest.mark.parametrize("batch_frames", [1, 44, 45, 90, 4096])
def test_batches_are_as_large_as_the_limit_allows(batch_frames: int) -> None:
    """Windows of 20, 20, 20, 20 and 18 frames are padded to the longest; one alone may exceed the limit."""
    model, counted = tiny(), []
    score_windows(model, video_features(98), 4.0, 4.0, batch_frames=batch_frames, on_batch=counted.append)
    size = max(1, batch_frames // 20)
    assert counted == [min(size, 5 - first) for first in range(0, 5, size)]


def test_a_window_longer_than_the_video_covers_the_video() -> None:
    model, video = tiny(), video_features(9)
    timeline = score_windows(model, video, 60.0, 10.0)
    assert (timeline.starts.tolist(), timeline.ends.tolist()) == ([0.0], [1.8])
    np.testing.assert_allclose(timeline.scores[0], score_video(model, video), atol=1e-6)


@pytest.mark.parametrize(
    ("seconds", "stride", "starts"),
    [
        (2.0, 2.0, [0, 2, 4, 6, 8]),  # adjacent windows, none of them empty
        (2.0, 3.0, [0, 3, 6, 9]),  # the last window has half the length
        (0.1, 4.0, [0, 4, 8]),  # shorter than a frame: the displayed frame
        (3.0, 3.0, [0, 3, 6]),  # the rest of a second belongs to the third window
        (4.0, 3.3, [0, 3.3, 6.6]),
        (2.0, 4.8, [0, 4.8]),  # a short rest after a gap is left out
    ],
)
def test_starts_of_windows(seconds: float, stride: float, starts: list[float]) -> None:
    timeline = score_windows(tiny(), video_features(50), seconds, stride)
    assert timeline.starts.tolist() == starts
    assert timeline.scores.shape == (len(starts), CLASSES)


@given(num_frames=st.integers(1, 400), seconds=st.floats(0.05, 20.0), stride_fraction=st.floats(0.1, 1.0))
def test_windows_cover_the_video_and_the_last_one_is_never_a_sliver(
    num_frames: int, seconds: float, stride_fraction: float
) -> None:
    duration, stride = num_frames / 5, seconds * stride_fraction
    starts, ends = window_spans(duration, seconds, stride)
    assert starts[0] == 0
    assert ends[-1] == duration
    np.testing.assert_allclose(starts, np.arange(len(starts)) * stride)
    assert (starts[1:] <= ends[:-1] + 1e-9).all(), "no frame between two windows is left out"
    np.testing.assert_allclose((ends - starts)[:-1], seconds)
    if len(starts) > 1:
        assert seconds / 2 - 1e-5 <= ends[-1] - starts[-1] <= 1.5 * seconds + 1e-5


@given(num_frames=st.integers(1, 400), seconds=st.floats(0.05, 20.0), gap=st.floats(0.01, 10.0))
def test_windows_with_gaps_have_their_length_or_more_than_half_of_it(
    num_frames: int, seconds: float, gap: float
) -> None:
    starts, ends = window_spans(num_frames / 5, seconds, seconds + gap)
    np.testing.assert_allclose((ends - starts)[:-1], seconds)
    assert ends[-1] - starts[-1] <= seconds + 1e-9
    if len(starts) > 1:
        assert ends[-1] - starts[-1] >= seconds / 2 - 1e-5


@torch.no_grad()
def test_a_rest_of_one_frame_is_scored_with_the_window_before_it() -> None:
    model, video = tiny(), video_features(41)  # 8.2 seconds
    timeline = score_windows(model, video, 4.0, 4.0)
    assert timeline.starts.tolist() == [0, 4]
    np.testing.assert_allclose(timeline.ends, [4, 8.2])
    np.testing.assert_allclose(timeline.scores[1], scores_alone(model, video, 4.0, 8.2), atol=1e-5)


def test_other_activations_and_models_are_scored_or_refused() -> None:
    video = video_features(20)
    logits = score_video(tiny_average(), video, head_act="none")
    np.testing.assert_allclose(
        score_video(tiny_average(), video, head_act="sigmoid"), 1 / (1 + np.exp(-logits)), atol=1e-6
    )
    with pytest.raises(InputError, match="softmax, sigmoid, none"):
        score_video(tiny(), video, head_act="relu")
    tensor: Any = video.features
    for score in (score_video, lambda *given: score_windows(*given, 1.0, 1.0)):
        with pytest.raises(InputError, match=r"video is a Tensor: must be vtn\.VideoFeatures"):
            score(tiny(), tensor)
    with pytest.raises(InputError, match="above 0"):
        score_windows(tiny(), video, 1.0, 0.0)


def test_evaluating_restores_the_mode_of_each_module() -> None:
    model = tiny()
    model.train()
    model.temporal_encoder.eval()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    assert model.training
    assert model.mlp_head.training
    assert not any(module.training for module in model.temporal_encoder.modules())


@pytest.mark.parametrize(
    "lengths", [(float("inf"), 4.0), (4.0, float("inf")), (float("nan"), 4.0), (0.0, 4.0)]
)
def test_lengths_of_windows_must_be_finite_and_above_0(lengths: tuple[float, float]) -> None:
    seconds, stride = lengths
    with pytest.raises(InputError, match="must be above 0"):
        score_windows(tiny(), video_features(4), window_seconds=seconds, stride_seconds=stride)
    with pytest.raises(InputError, match="must be above 0"):
        window_lengths(*lengths)


def test_the_stride_is_the_length_of_a_window_where_none_is_given() -> None:
    assert window_lengths(None, None) is None
    assert window_lengths(0.5, None) == (0.5, 0.5)
    assert window_lengths(4.0, 0.5) == (4.0, 0.5)
    with pytest.raises(InputError, match="needs window_seconds"):
        window_lengths(None, 2.0)


def test_windows_that_the_user_does_not_choose_are_a_tenth_of_the_video() -> None:
    video = video_features(100)  # 20 seconds
    assert choose_windows(video) == pytest.approx((2.0, 0.5))
    assert choose_windows(video, window_seconds=8.0) == pytest.approx((8.0, 2.0))
    assert choose_windows(video, stride_seconds=3.0) == pytest.approx((2.0, 3.0))
    assert choose_windows(video, 0.0, 0.0) == (0.0, 0.0)  # which is refused when windows are scored
    few = video_features(6)  # 1.2 seconds: a window has four frames, and a stride one
    assert choose_windows(few) == pytest.approx((0.8, 0.2))
    assert choose_windows(video_features(2)) == pytest.approx((0.4, 0.2))


@torch.no_grad()
def test_frames_that_cannot_be_decoded_have_no_influence() -> None:
    """All windows are of one length, so that padding needs no mask."""
    model, video = tiny(), video_features(20)
    lost = video.features.clone()
    lost[7] = float("nan")
    mask = torch.arange(20) != 7
    damaged = VideoFeatures(lost, video.times, video.indices, mask)
    found = score_windows(model, damaged, 2.0, 2.0).scores
    expected = model.classify(video.features[None, :10], video.positions(None)[None, :10], mask[None, :10])
    np.testing.assert_allclose(found[0], expected.softmax(1)[0], atol=1e-5)
    np.testing.assert_allclose(found[1], score_windows(model, video, 2.0, 2.0).scores[1], atol=1e-6)


@pytest.mark.parametrize(("duration", "stride"), [(2.0, 1e-9), (1e12, 60.0), (2.0, 1e-320)])
def test_windows_without_number_are_refused(duration: float, stride: float) -> None:
    with pytest.raises(InputError, match="must be at most 1,000,000 windows"):
        window_spans(duration, stride, stride)


@pytest.mark.parametrize(
    ("stride", "expected"),
    [
        (2.0, ["over time:", "  0:00:00 to 0:00:02  a  0.900", "  0:00:02 to 0:00:04  b  0.800"]),
        (
            0.5,
            [
                "over time (3 windows, those in a row with the same best class together):",
                "  0:00:00.0 to 0:00:02.0  a  0.900",
                "  0:00:00.5 to 0:00:03.0  b  0.750",
            ],
        ),
    ],
)
def test_windows_are_shown_with_the_precision_of_their_times(stride: float, expected: list[str]) -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], np.float32)[: 2 if stride == 2 else 3]
    starts = np.arange(len(scores)) * stride
    prediction = Prediction("v.mp4", 4.0, 8, ["a", "b"], scores[0], Timeline(starts, starts + 2, scores))
    assert prediction.describe().splitlines()[3:] == expected


def test_scores_stand_in_one_column() -> None:
    """Characters of Chinese and Japanese take two columns; names that are not shown take none."""
    names, scores = ["走る", "bow", "a long name of a class"], np.array([0.6, 0.3, 0.1], np.float32)
    lines = Prediction("v.mp4", 4.0, 8, names, scores).describe(2).splitlines()
    assert lines[1:] == ["   1. 走る  0.600", "   2. bow   0.300"]


def test_classes_without_names_are_called_classes_in_texts_alone() -> None:
    scores = np.array([0.3, 0.1, 0.6], np.float32)
    timeline = Timeline(np.array([0.0]), np.array([4.0]), scores[None])
    prediction = Prediction("v.mp4", 4.0, 8, ["0", "1", "2"], scores, timeline)
    assert prediction.describe_in_a_line(2) == "v.mp4: class 2 0.600, class 0 0.300"
    assert prediction.describe(2).splitlines()[1:] == [
        "   1. class 2  0.600",
        "   2. class 0  0.300",
        "over time:",
        "  0:00:00 to 0:00:04  class 2  0.600",
    ]
    assert prediction.to_dict(1)["top"][0]["class"] == "2"
    assert prediction.to_csv().startswith("video,start,end,error,0,1,2\n")


def test_times_in_json_have_no_digits_of_rounding() -> None:
    scores = np.array([0.6, 0.4], np.float32)
    timeline = Timeline(np.array([0.1 + 0.2]), np.array([1.1600000000000001]), scores[None])
    content = Prediction("v.mp4", 1.2499999999999998, 8, ["a", "b"], scores, timeline).to_dict()
    (window,) = content["windows"]
    assert (content["seconds"], window["start"], window["end"]) == (1.25, 0.3, 1.16)


def test_features_may_be_an_array() -> None:
    video = video_features(4)
    array = VideoFeatures(video.features.numpy(), video.times, video.indices)  # type: ignore[arg-type]
    np.testing.assert_array_equal(score_video(tiny(), array), score_video(tiny(), video))
