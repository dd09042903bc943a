"""A video that comes bit by bit: scores at any moment, each frame through the backbone once.

T frames of a push, H W pixels, F width of a feature, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from slowfast.datasets.loading.prefetch import Prefetch
from slowfast.errors import InputError
from slowfast.models.frame_encoder import FrameEncoder
from slowfast.video.frame_times import FrameTimes
from vtn.frame_model import FrameModel
from vtn.inference.features import VideoFeatures
from vtn.inference.windows import device_of, evaluating, score_video

_RECENT = 8
"""Newest frames by which the length of a frame is judged."""

Times = float | Sequence[float] | np.ndarray
"""Seconds of one frame, or of each."""


class VideoStream:
    """Class scores of a file, a camera, anything whose frames come in order.

    ::

        stream = vtn.VideoStream(model, keep_seconds=60)
        stream.push(frame, seconds)      # (H, W, 3), or (T, H, W, 3) with T times
        stream.scores()                  # (K,) of all that is kept
        stream.scores(last=10)           # (K,) of the last ten seconds

    Scores are those of the video that one would have by cutting the part out: its positions begin at 0.

    Args:
        model: a :class:`vtn.VTN` or another model of frames' features.
        keep_seconds: how much of the past is kept; features older than that are forgotten, so that memory is
            bounded. None: everything (F numbers a frame).
        head_act: what turns logits into scores: softmax, sigmoid, none.
        mean, std: normalisation of the frames; None: the model's own.

    Raises:
        InputError: for a ``keep_seconds`` that is not above 0.
    """

    def __init__(
        self,
        model: FrameModel,
        *,
        keep_seconds: float | None = None,
        head_act: str = "softmax",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        if keep_seconds is not None and keep_seconds <= 0:
            raise InputError(f"keep_seconds = {keep_seconds}: give more than 0, or None to keep all")
        self.model = model
        self.keep_seconds = keep_seconds
        self.head_act = head_act
        self._mean = tuple(mean or model.frame_mean)
        self._std = tuple(std or model.frame_std)
        self._features = _Rows()
        self._seconds = _Rows()
        self._indices = _Rows()
        self._count = 0

    def __len__(self) -> int:
        """Number of frames that are kept."""
        return len(self._seconds.rows)

    @property
    def seconds(self) -> float:
        """Time of the newest frame."""
        self._require_frames()
        return float(self._seconds.rows[-1])

    def push(
        self, frames: np.ndarray | Tensor, seconds: Times, indices: Sequence[int] | np.ndarray | None = None
    ) -> None:
        """Adds frames and runs the backbone on them.

        Args:
            frames: (T, H, W, 3) or one (H, W, 3), uint8 RGB, of the size that the model takes.
            seconds: (T,) or one; when each is shown, later than all before.
            indices: (T,), numbers of the frames in the source video, for models whose positions are frame
                indices; None: frames are counted.

        Raises:
            InputError: for shapes or times that do not fit.
        """
        if isinstance(frames, np.ndarray):
            # torch does not accept negative strides, such as those of reversed channels.
            frames = torch.from_numpy(np.ascontiguousarray(frames))
        if frames.ndim == 3:
            frames = frames[None]
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != torch.uint8:
            raise InputError(
                f"frames are {tuple(frames.shape)} {frames.dtype}; give uint8 (frames, height, width, 3)"
            )
        times, numbers = self._check_times(len(frames), seconds, indices)
        encoder = FrameEncoder(
            self.model,
            self._mean,
            self._std,
            device_of(self.model),
            chunk_frames=self.model.chunk_frames,
        )
        with evaluating(self.model):
            first = 0
            for features in encoder.encode_chunks(frames.split(encoder.chunk_size)):  # (t, F)
                rows = slice(first, first + len(features))
                self._add(features, times[rows], numbers[rows])
                first += len(features)

    def push_features(
        self, features: Tensor, seconds: Times, indices: Sequence[int] | np.ndarray | None = None
    ) -> None:
        """As :meth:`push`, for frames whose features (T, F), or those of one (F,), are there already."""
        features = features[None] if features.ndim == 1 else features
        if features.ndim != 2 or features.shape[1] != self.model.feature_dim:
            raise InputError(
                f"features have shape {tuple(features.shape)}; give (frames, {self.model.feature_dim})"
            )
        self._add(features.detach(), *self._check_times(len(features), seconds, indices))

    def follow(self, source: Iterable[tuple[np.ndarray, Times]]) -> Iterator[float]:
        """Pushes what a source of (frames, seconds) gives; yields the newest frame's time after each push.

        The source runs in a thread of its own, so that decoding and computing overlap. Its errors come out of
        here, and leaving the loop ends it.
        """
        with Prefetch(source) as pushes:
            for frames, seconds in pushes:
                self.push(frames, seconds)
                yield self.seconds

    def scores(self, last: float | None = None) -> np.ndarray:
        """The class scores (K,) float32 of all that is kept, or of the ``last`` seconds of it.

        Raises:
            InputError: where nothing was pushed yet, and for a ``last`` that is not above 0.
        """
        video = self.video()
        if last is not None:
            if last <= 0:
                raise InputError(f"last = {last}: give seconds above 0")
            video = video.part(max(0.0, video.duration - last), video.duration)
        return score_video(self.model, video, head_act=self.head_act)

    def video(self) -> VideoFeatures:
        """All that is kept, as a video that begins at 0; valid until the next push."""
        self._require_frames()
        seconds, indices = self._seconds.rows.numpy(), self._indices.rows.numpy()
        times = FrameTimes(seconds - seconds[0], self._end - float(seconds[0]))
        return VideoFeatures(self._features.rows, times, indices - indices[0])

    @property
    def _end(self) -> float:
        """When the newest frame will have been shown as long as the frames before it.

        That is the median of the last few, of which one may have lasted long because the source paused.
        """
        newest = self._seconds.rows[-_RECENT:]
        # A first frame alone is shown for as long as one of a common frame rate.
        length = float(newest.diff().median()) if len(newest) > 1 else 1 / 25
        return float(newest[-1]) + length

    def _require_frames(self) -> None:
        if self._count == 0:
            raise InputError("no frame was pushed yet")

    def _check_times(
        self, count: int, seconds: Times, indices: Sequence[int] | np.ndarray | None
    ) -> tuple[Tensor, Tensor]:
        times = np.atleast_1d(np.asarray(seconds, np.float64))
        numbers = np.arange(self._count, self._count + count) if indices is None else np.asarray(indices)
        for name, values, kept in (("seconds", times, self._seconds), ("indices", numbers, self._indices)):
            if values.shape != (count,):
                raise InputError(f"{name} have shape {values.shape}; {count} frames need ({count},)")
            before = kept.rows[-1:].numpy() if self._count else values[:0]
            if not (np.diff(np.concatenate([before, values])) > 0).all():
                raise InputError(f"{name} {values.tolist()[:5]} … must be later than all before, in order")
        return torch.from_numpy(times), torch.from_numpy(numbers.astype(np.int64))

    def _add(self, features: Tensor, seconds: Tensor, indices: Tensor) -> None:
        self._features.append(features)
        self._seconds.append(seconds)
        self._indices.append(indices)
        self._count += len(seconds)
        if self.keep_seconds is not None:
            # Half a millisecond of slack: times that are sums of a frame's length are rounded.
            oldest = self._end - self.keep_seconds - 5e-4
            old = min(int(torch.searchsorted(self._seconds.rows, oldest)), len(self) - 1)
            for rows in (self._features, self._seconds, self._indices):
                rows.drop(old)


class _Rows:
    """Rows that are added at the end and dropped at the start; memory is at most three times what is kept."""

    def __init__(self) -> None:
        self._block = torch.empty(0)
        self._first = self._end = 0

    @property
    def rows(self) -> Tensor:
        return self._block[self._first : self._end]

    def append(self, rows: Tensor) -> None:
        if self._end + len(rows) > len(self._block):
            kept = self.rows
            size = 2 * (len(kept) + len(rows))
            block = rows.new_empty(size, *rows.shape[1:])
            if len(kept):
                block[: len(kept)] = kept
            self._block, self._first, self._end = block, 0, len(kept)
        self._block[self._end : self._end + len(rows)] = rows
        self._end += len(rows)

    def drop(self, count: int) -> None:
        self._first += count
