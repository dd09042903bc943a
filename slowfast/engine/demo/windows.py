"""Scores of a video's windows over time, batch by batch.

B windows of a batch, T frames, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from slowfast.datasets.clip import Clip, Normalization
from slowfast.datasets.views.view_reader import ViewReader
from slowfast.errors import DecodeError
from slowfast.models.inference.clip_logits import compute_logits
from slowfast.models.precision import Precision
from slowfast.models.score_activations import ScoreActivation
from slowfast.video.decoding import OpenVideo


@dataclass(frozen=True)
class Window:
    """A part of a video with its scores.

    Attributes:
        start, end: seconds from the first frame.
        scores: (K,) float32; None: a frame of it cannot be decoded, or its scores are not finite.
    """

    start: float
    end: float
    scores: NDArray[np.float32] | None


@dataclass(frozen=True)
class WindowScorer:
    """A model with all that turns a part of a video into scores, as the test of clips does.

    Attributes:
        model: a :class:`slowfast.models.capabilities.VideoModel`, on ``device``.
        reader: plans the frames of a window, and their positions.
        normalization: of the frames.
        activation: from logits to scores.
        device: of the model.
        precision: of the model's computation.
        batch_size: B.
        reverse_channels: frames are BGR instead of RGB.
    """

    model: Any
    reader: ViewReader
    normalization: Normalization
    activation: ScoreActivation
    device: torch.device
    precision: Precision
    batch_size: int
    reverse_channels: bool = False

    def windows(self, video: OpenVideo, name: str, seconds: float, stride: float) -> Iterator[Window]:
        """Yields the windows of a video in order; only B of them are in memory.

        Args:
            name: path of the video, for messages.
            seconds, stride: length of a window, and from the start of a window to the start of the next.
        """
        self.model.eval()
        spans = demo_spans(video.times.duration, seconds, stride)
        while batch := list(islice(spans, self.batch_size)):
            clips = [self._read(video, name, span) for span in batch]
            scores = iter(self._score([clip for clip in clips if clip is not None]))
            for (start, end), clip in zip(batch, clips, strict=True):
                yield Window(start, end, None if clip is None else next(scores))

    def _read(self, video: OpenVideo, name: str, span: tuple[float, float]) -> Clip | None:
        rng = np.random.default_rng(0)  # evaluation has no random choices
        indices, positions = self.reader.plan(video.times, name, 0, rng, span)
        try:
            frames = video.read(indices, self.reader.scheme.placer(0, rng))  # (T, H, W, 3)
        except DecodeError:
            return None
        if self.reverse_channels:
            frames = np.ascontiguousarray(frames[..., ::-1])
        return Clip(torch.from_numpy(frames).permute(3, 0, 1, 2), torch.from_numpy(positions), 0, 0)

    @torch.no_grad()
    def _score(self, clips: Sequence[Clip]) -> list[NDArray[np.float32] | None]:
        if not clips:
            return []
        batch = Clip.collate(clips).to(self.device)
        found = compute_logits(self.model, batch, normalization=self.normalization, precision=self.precision)
        scores: list[NDArray[np.float32] | None] = [None] * len(clips)
        if found.rows:
            values = self.activation(found.logits).cpu().numpy()
            for row, own in zip(found.rows, values, strict=True):
                scores[row] = own if np.isfinite(own).all() else None
        return scores


def demo_spans(duration: float, seconds: float, stride: float) -> Iterator[tuple[float, float]]:
    """Yields (start, end) of windows in seconds; the last one ends with the video and may be shorter.

    >>> list(demo_spans(5.0, seconds=2.0, stride=1.5))
    [(0.0, 2.0), (1.5, 3.5), (3.0, 5.0)]
    """
    for number in count():
        start = number * stride
        # A microsecond of tolerance, so that rounding never adds a window.
        if number and start >= duration - 1e-6:
            return
        yield start, min(start + seconds, duration)
        if start + seconds >= duration - 1e-6:
            return
