"""Scores of a video from its features: as a whole, and over time in sliding windows.

W windows, B windows of a batch, T frames, M tokens of a frame, F width of a feature, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from slowfast.errors import InputError, check_positive
from slowfast.models.score_activations import SCORE_ACTIVATION_REGISTRY
from vtn.frame_model import FrameModel
from vtn.inference.features import VideoFeatures

BATCH_FRAMES = 4096
"""Number of frames of the windows that are encoded together."""

WINDOWS_PER_VIDEO = 10
"""Windows that a video is divided into where the user names no length."""
_MIN_FRAMES = 4  # of such a window
_MOST_WINDOWS = 1_000_000  # a damaged file may claim any duration

# Seconds, so that 10 s in windows of 2 s are five windows whatever the rounding.
_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Timeline:
    """Scores over time.

    Attributes:
        starts, ends: (W,) float64, in seconds.
        scores: (W, K) float32; NaN for windows without a frame that could be decoded.
    """

    starts: np.ndarray
    ends: np.ndarray
    scores: np.ndarray


def score_video(model: FrameModel, video: VideoFeatures, *, head_act: str = "softmax") -> np.ndarray:
    """Returns the class scores (K,) float32 of a whole video.

    Args:
        model: a :class:`vtn.VTN` or another :class:`vtn.frame_model.FrameModel`.
        head_act: the score activation: softmax, sigmoid, none.

    Raises:
        InputError: for an unknown ``head_act``.
    """
    _require_features(video)
    with evaluating(model):
        return _score_batch(model, [video], head_act)[0]


def score_windows(
    model: FrameModel,
    video: VideoFeatures,
    window_seconds: float,
    stride_seconds: float,
    *,
    head_act: str = "softmax",
    batch_frames: int = BATCH_FRAMES,
    on_batch: Callable[[int], object] = lambda windows: None,
) -> Timeline:
    """Scores windows that slide over a video, from its features: the backbone is not used.

    Each window is scored as a video of its own, whose positions start at 0. The last window ends with the
    video and lasts 0.5 to 1.5 times as long as the others, see :func:`window_spans`.

    Args:
        model: as in :func:`score_video`.
        window_seconds: length of a window.
        stride_seconds: from the start of a window to the start of the next.
        head_act: as in :func:`score_video`.
        batch_frames: number of frames of the windows that are scored together, which bounds the memory.
        on_batch: called after each batch with the number of its windows.

    Raises:
        InputError: for lengths that are not above 0 or not finite, for more than a million windows, and for
            an unknown ``head_act``.

    >>> import numpy as np, torch
    >>> from slowfast.video.frame_times import FrameTimes
    >>> from vtn import VTN, VideoFeatures
    >>> options = {"num_classes": 3, "hidden_dim": 32, "num_heads": 2}
    >>> model = VTN("precomputed", backbone_args={"feature_dim": 24}, **options)
    >>> times = FrameTimes(np.arange(50) / 5, 10.0)  # 10 seconds at 5 frames per second
    >>> video = VideoFeatures(torch.randn(50, 24), times, np.arange(50))
    >>> timeline = score_windows(model, video, window_seconds=4.0, stride_seconds=2.0)
    >>> timeline.starts.tolist(), timeline.scores.shape
    ([0.0, 2.0, 4.0, 6.0], (4, 3))
    """
    _require_features(video)
    window_lengths(window_seconds, stride_seconds)
    starts, ends = window_spans(video.duration, window_seconds, stride_seconds)
    scores: list[np.ndarray] = []
    with evaluating(model):
        for windows in _batches(map(video.part, starts, ends), batch_frames):
            scores.append(_score_batch(model, windows, head_act))
            on_batch(len(windows))
    return Timeline(starts, ends, np.concatenate(scores))


@contextmanager
def evaluating(model: FrameModel) -> Iterator[None]:
    """Keeps the model in evaluation mode and without gradients; restores each module's mode afterwards."""
    require_model(model)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, was_training in modes:
            module.training = was_training


def require_model(model: object) -> None:
    """Raises ``InputError`` for what is not a model, such as a predictor."""
    if not isinstance(model, nn.Module):
        raise InputError(
            f"model is a {type(model).__name__}: must be a model of this package, such as predictor.model"
        )


def _require_features(video: object) -> None:
    """Raises ``InputError`` for other features than those of a video with their times."""
    if not isinstance(video, VideoFeatures):
        raise InputError(
            f"video is a {type(video).__name__}: must be vtn.VideoFeatures; model.classify takes tensors"
        )


def device_of(model: FrameModel) -> torch.device:
    """Returns the device of the model's parameters; the CPU for an exported model, which has none."""
    return next(model.parameters(), torch.empty(0, device="cpu")).device


def window_lengths(window_seconds: float | None, stride_seconds: float | None) -> tuple[float, float] | None:
    """Returns the length of windows and from one start to the next; None where no windows were asked for.

    Args:
        window_seconds: length of a window; None: no windows.
        stride_seconds: from the start of a window to the start of the next; None: ``window_seconds``.

    Raises:
        InputError: for lengths that are not above 0, and for a stride alone.
    """
    if window_seconds is None:
        if stride_seconds is not None:
            raise InputError(f"stride_seconds = {stride_seconds}: needs window_seconds; give both")
        return None
    stride_seconds = window_seconds if stride_seconds is None else stride_seconds
    check_positive(window_seconds=window_seconds, stride_seconds=stride_seconds)
    return float(window_seconds), float(stride_seconds)


def choose_windows(
    features: VideoFeatures, window_seconds: float | None = None, stride_seconds: float | None = None
) -> tuple[float, float]:
    """Returns the length of the windows and the time from one start to the next, in seconds.

    Args:
        window_seconds: as the user has chosen; None: a tenth of the video, at least four frames.
        stride_seconds: as the user has chosen; None: a quarter of the window, at least a frame.
    """
    num_frames = len(features.features)
    spacing = features.duration / num_frames
    frames = max(_MIN_FRAMES, num_frames / WINDOWS_PER_VIDEO)
    window = min(frames * spacing, features.duration) if window_seconds is None else window_seconds
    return window, max(spacing, window / 4) if stride_seconds is None else stride_seconds


def window_spans(
    duration: float, window_seconds: float, stride_seconds: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the starts and ends (W,) of the windows of a video, in seconds.

    Windows start at multiples of ``stride_seconds`` until the end of the video is reached. A last window that
    would be shorter than half of the others has too few frames to be scored: it becomes a part of the window
    before it, or is left out where there are gaps between windows.

    Raises:
        InputError: for more than a million windows.

    >>> starts, ends = window_spans(9.04, 4.0, 4.0)
    >>> starts.tolist(), ends.tolist()
    ([0.0, 4.0], [4.0, 9.04])
    """
    if duration / stride_seconds > _MOST_WINDOWS:
        raise InputError(
            f"{duration:g} s in windows every {stride_seconds:g} s: must be at most {_MOST_WINDOWS:,} "
            "windows; choose longer windows (--window), or a longer time from one to the next (--stride)"
        )
    count = max(0, math.ceil((duration - window_seconds - _TOLERANCE) / stride_seconds)) + 1
    starts = np.arange(count) * float(stride_seconds)
    starts = starts[starts < duration]
    ends = np.minimum(starts + window_seconds, duration)
    if len(starts) > 1 and ends[-1] - starts[-1] < window_seconds / 2 - _TOLERANCE:
        starts, ends = starts[:-1], ends[:-1]
    if stride_seconds <= window_seconds:
        ends[-1] = duration
    return starts, ends


def _batches(windows: Iterator[VideoFeatures], batch_frames: int) -> Iterator[list[VideoFeatures]]:
    """Groups windows into batches of at most ``batch_frames`` frames after padding, or of one window."""
    batch: list[VideoFeatures] = []
    longest = 0
    for window in windows:
        longest = max(longest, len(window.features))
        if batch and longest * (len(batch) + 1) > batch_frames:
            yield batch
            batch, longest = [], len(window.features)
        batch.append(window)
    yield batch


def _score_batch(model: FrameModel, windows: Sequence[VideoFeatures], head_act: str) -> np.ndarray:
    """Returns the scores (B, K) of windows of any lengths."""
    if head_act not in SCORE_ACTIVATION_REGISTRY:
        names = ", ".join(SCORE_ACTIVATION_REGISTRY)
        raise InputError(f"head_act = {head_act!r}: must be a registered score activation: {names}")
    decoded = [window.mask is None or bool(window.mask.any()) for window in windows]
    scores = np.full((len(windows), model.num_classes), np.nan, np.float32)
    if any(decoded):
        windows = [window for window, is_decoded in zip(windows, decoded, strict=True) if is_decoded]
        activation = SCORE_ACTIVATION_REGISTRY.get(head_act)
        scores[decoded] = activation(_logits(model, windows).float()).cpu().numpy()
    return scores


def _logits(model: FrameModel, windows: Sequence[VideoFeatures]) -> Tensor:
    """Returns the logits (B, K) of windows of any lengths, each with at least one decoded frame."""
    lengths = [len(window.features) for window in windows]
    features = _padded([window.features for window in windows])  # (B, T, F) or (B, T, M, F)
    positions = _padded([window.positions(model.position_rate) for window in windows])  # (B, T)
    mask = None
    if min(lengths) < max(lengths) or any(window.mask is not None for window in windows):
        mask = _padded([window.decoded for window in windows])  # (B, T), False where padded
    device = device_of(model)
    return model.classify(
        features.to(device), positions.to(device), None if mask is None else mask.to(device)
    )


def _padded(rows: list[Tensor]) -> Tensor:
    """Pads B tensors (T, …) to (B, T, …); a single tensor is not copied, since it may be memory-mapped."""
    return rows[0][None] if len(rows) == 1 else pad_sequence(rows, batch_first=True)
