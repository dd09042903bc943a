"""Scores of a video from its stored features: of the whole, and over time in sliding windows.

W windows, B windows of a batch, T frames, F width of a feature, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from slowfast.engine.evaluate import HEAD_ACTIVATIONS
from slowfast.errors import InputError
from vtn.frame_model import FrameModel
from vtn.inference.features import VideoFeatures

BATCH_FRAMES = 4096
"""Frames of the windows that go through the encoder together."""


@dataclass(frozen=True)
class Timeline:
    """Scores over time.

    Attributes:
        starts, ends: (W,) float64, seconds.
        scores: (W, K) float32; NaN for windows of which no frame could be decoded.
    """

    starts: np.ndarray
    ends: np.ndarray
    scores: np.ndarray


def score_video(model: FrameModel, video: VideoFeatures, *, head_act: str = "softmax") -> np.ndarray:
    """Returns the class scores (K,) float32 of a whole video.

    Args:
        model: a :class:`vtn.VTN` or another model of frames' features.
        head_act: what turns logits into scores: softmax, sigmoid, none.
    """
    with evaluating(model):
        return _score_batch(model, [video], head_act)[0]


def score_windows(
    model: FrameModel,
    video: VideoFeatures,
    seconds: float,
    stride: float,
    *,
    head_act: str = "softmax",
    batch_frames: int = BATCH_FRAMES,
    on_batch: Callable[[int], object] = lambda windows: None,
) -> Timeline:
    """Scores windows that slide over a video. The backbone is not needed, only the encoder runs.

    Each window is scored as the video that one would have by cutting it out: its positions begin at 0. The
    last window reaches the end of the video and may be shorter than the others.

    Args:
        model: as in :func:`score_video`.
        seconds, stride: length of a window, and from one window's start to the next.
        head_act: as in :func:`score_video`.
        batch_frames: frames of the windows that are scored together; of these alone memory is taken.
        on_batch: called with the number of windows just scored.

    Raises:
        InputError: for lengths that are not above 0.
    """
    if seconds <= 0 or stride <= 0:
        raise InputError(f"windows of {seconds} s every {stride} s: give lengths above 0")
    starts = _window_starts(video.duration, seconds, stride)
    scores: list[np.ndarray] = []
    with evaluating(model):
        for windows in _batches((video.part(start, start + seconds) for start in starts), batch_frames):
            scores.append(_score_batch(model, windows, head_act))
            on_batch(len(windows))
    return Timeline(starts, np.minimum(starts + seconds, video.duration), np.concatenate(scores))


@contextmanager
def evaluating(model: FrameModel) -> Iterator[None]:
    """The model in evaluation mode and without gradients; afterwards in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def device_of(model: FrameModel) -> torch.device:
    """Where the model's parameters lie."""
    return next(model.parameters()).device


def _window_starts(duration: float, seconds: float, stride: float) -> np.ndarray:
    """(W,) multiples of ``stride``, as many as it takes to reach the end."""
    # A microsecond of slack, so that 10 s in windows of 2 s are five windows whatever the rounding.
    count = max(0, math.ceil((duration - seconds - 1e-6) / stride)) + 1
    starts = np.arange(count) * stride
    return starts[starts < duration]


def _batches(windows: Iterator[VideoFeatures], batch_frames: int) -> Iterator[list[VideoFeatures]]:
    """Groups of windows of no more than ``batch_frames`` frames after padding, or of one window."""
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
    """The scores (B, K) of windows of any lengths."""
    if head_act not in HEAD_ACTIVATIONS:
        raise InputError(f"head_act = {head_act!r}: known are {', '.join(HEAD_ACTIVATIONS)}")
    seen = [window.mask is None or bool(window.mask.any()) for window in windows]
    scores = np.full((len(windows), model.num_classes), np.nan, np.float32)
    if any(seen):
        windows = [window for window, is_seen in zip(windows, seen, strict=True) if is_seen]
        scores[seen] = HEAD_ACTIVATIONS[head_act](_logits(model, windows).float()).cpu().numpy()
    return scores


def _logits(model: FrameModel, windows: Sequence[VideoFeatures]) -> Tensor:
    """The logits (B, K) of windows of any lengths, each with a frame at least that could be decoded."""
    lengths = [len(window.features) for window in windows]
    features = _padded([window.features for window in windows])  # (B, T, F)
    positions = _padded([window.positions(model.position_rate) for window in windows])  # (B, T)
    mask = None
    if min(lengths) < max(lengths) or any(window.mask is not None for window in windows):
        mask = _padded([_mask(window) for window in windows])  # (B, T), False where padded
    device = device_of(model)
    return model.classify(
        features.to(device), positions.to(device), None if mask is None else mask.to(device)
    )


def _mask(window: VideoFeatures) -> Tensor:
    return torch.ones(len(window.features), dtype=torch.bool) if window.mask is None else window.mask


def _padded(rows: list[Tensor]) -> Tensor:
    """(T, …) each -> (B, T, …); a single one is not copied, so that long videos may stay on the disk."""
    return rows[0][None] if len(rows) == 1 else pad_sequence(rows, batch_first=True)
