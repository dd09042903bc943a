"""Streams of frames: scores of the video so far at any moment, with each frame encoded once.

T frames of a push, t frames of a chunk, H W pixels, M tokens of a frame, F width of a feature, K classes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

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
"""Number of newest frames whose median distance is taken for the duration of the last frame."""

Times = float | Sequence[float] | np.ndarray
"""Display times in seconds: of one frame, or of each frame."""


class VideoStream:
    """Class scores of a video whose frames arrive in order, from a file or a camera.

    The kept frames are scored as a video of their own, whose positions start at 0.

    Args:
        model: a :class:`vtn.VTN` or another :class:`vtn.frame_model.FrameModel`.
        keep_seconds: duration of the newest frames that are kept; older features are dropped, so that memory
            is bounded. None: all frames are kept (M · F numbers per frame).
        head_act: the score activation: softmax, sigmoid, none.
        mean, std: normalisation of the frames, per channel; None: the model's own.

    Raises:
        InputError: for a ``keep_seconds`` that is not above 0.

    >>> import numpy as np
    >>> from vtn import VTN
    >>> model = VTN("test_vit", num_classes=3, pretrained=False)
    >>> stream = VideoStream(model, keep_seconds=60)
    >>> size = model.frame_size
    >>> for second in range(12):
    ...     stream.push(np.zeros((size, size, 3), np.uint8), second)  # or (T, H, W, 3) with T times
    >>> len(stream), stream.scores().shape  # of all kept frames
    (12, (3,))
    >>> stream.scores(last=10).shape  # of the last ten seconds
    (3,)
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
            raise InputError(f"keep_seconds = {keep_seconds}: must be above 0, or None to keep all frames")
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
        """Returns the number of kept frames."""
        return len(self._seconds.rows)

    @property
    def seconds(self) -> float:
        """Display time of the newest frame, in seconds."""
        self._require_frames()
        return float(self._seconds.rows[-1])

    def push(
        self, frames: np.ndarray | Tensor, seconds: Times, indices: Sequence[int] | np.ndarray | None = None
    ) -> None:
        """Encodes frames and adds their features to the video.

        Args:
            frames: (T, H, W, 3), or one frame (H, W, 3), uint8 RGB, in the size that the model takes.
            seconds: display times (T,), or one, ascending and later than those of earlier frames.
            indices: (T,), numbers of the frames in the source video, for models whose positions are frame
                indices; None: frames are counted.

        Raises:
            InputError: for frames of another shape or dtype, and for times or indices that do not ascend.
        """
        if isinstance(frames, np.ndarray):
            # torch does not accept negative strides, such as those of reversed channels.
            frames = torch.from_numpy(np.ascontiguousarray(frames))
        if frames.ndim == 3:
            frames = frames[None]
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != torch.uint8:
            raise InputError(
                f"frames have shape {tuple(frames.shape)} and dtype {frames.dtype}: must be uint8 (frames, "
                "height, width, 3)"
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
            for features in encoder.encode_chunks(frames.split(encoder.chunk_size)):  # (t, F) or (t, M, F)
                rows = slice(first, first + len(features))
                self._add(features, times[rows], numbers[rows])
                first += len(features)

    def push_features(
        self, features: Tensor, seconds: Times, indices: Sequence[int] | np.ndarray | None = None
    ) -> None:
        """Adds frames by features (T, F) or (T, M, F), or one frame by (F,) or (M, F); see :meth:`push`."""
        shape = self.model.feature_shape
        features = features[None] if features.shape == shape else features
        if features.ndim != 1 + len(shape) or features.shape[1:] != shape:
            expected = ", ".join(map(str, shape))
            raise InputError(f"features have shape {tuple(features.shape)}: must be (frames, {expected})")
        self._add(features.detach(), *self._check_times(len(features), seconds, indices))

    def follow(self, source: Iterable[tuple[np.ndarray, Times]]) -> Generator[float, None, None]:
        """Pushes each (frames, seconds) of a source; yields the time of the newest frame after each push.

        The source runs in a thread, so that decoding and encoding overlap. Its exceptions are raised here.
        Closing the generator ends the thread.
        """
        with Prefetch(source) as pushes:
            for frames, seconds in pushes:
                self.push(frames, seconds)
                yield self.seconds

    def scores(self, last: float | None = None) -> np.ndarray:
        """Returns the class scores (K,) float32 of all kept frames, or of the ``last`` seconds of them.

        Raises:
            InputError: before the first push, and for a ``last`` that is not above 0.
        """
        video = self.video()
        if last is not None:
            if last <= 0:
                raise InputError(f"last = {last}: must be above 0 seconds")
            video = video.part(max(0.0, video.duration - last), video.duration)
        return score_video(self.model, video, head_act=self.head_act)

    def video(self) -> VideoFeatures:
        """Returns all kept frames as a video that starts at 0; it is valid until the next push."""
        self._require_frames()
        seconds, indices = self._seconds.rows.numpy(), self._indices.rows.numpy()
        times = FrameTimes(seconds - seconds[0], self._end - float(seconds[0]))
        return VideoFeatures(self._features.rows, times, indices - indices[0])

    @property
    def _end(self) -> float:
        """End of the newest frame in seconds, if it lasts as long as the frames before it.

        The duration is the median of the last few frames, since the source may have paused once.
        """
        newest = self._seconds.rows[-_RECENT:]
        # Of a single frame the duration is not known; 25 frames per second are common.
        length = float(newest.diff().median()) if len(newest) > 1 else 1 / 25
        return float(newest[-1]) + length

    def _require_frames(self) -> None:
        if self._count == 0:
            raise InputError("the stream has no frame yet; call push first")

    def _check_times(
        self, count: int, seconds: Times, indices: Sequence[int] | np.ndarray | None
    ) -> tuple[Tensor, Tensor]:
        times = np.atleast_1d(np.asarray(seconds, np.float64))
        numbers = np.arange(self._count, self._count + count) if indices is None else np.asarray(indices)
        for name, values, kept in (("seconds", times, self._seconds), ("indices", numbers, self._indices)):
            if values.shape != (count,):
                raise InputError(f"{name} have shape {values.shape}: must be ({count},) for {count} frames")
            before = kept.rows[-1:].numpy() if self._count else values[:0]
            if not (np.diff(np.concatenate([before, values])) > 0).all():
                raise InputError(f"{name} = {values.tolist()[:5]} …: must ascend, also after earlier ones")
        return torch.from_numpy(times), torch.from_numpy(numbers.astype(np.int64))

    def _add(self, features: Tensor, seconds: Tensor, indices: Tensor) -> None:
        self._features.append(features)
        self._seconds.append(seconds)
        self._indices.append(indices)
        self._count += len(seconds)
        if self.keep_seconds is not None:
            # Half a millisecond of tolerance: times that are sums of frame durations are rounded.
            oldest = self._end - self.keep_seconds - 5e-4
            dropped = min(int(torch.searchsorted(self._seconds.rows, oldest)), len(self) - 1)
            for rows in (self._features, self._seconds, self._indices):
                rows.drop(dropped)


class _Rows:
    """A queue of rows in one tensor; its memory is at most three times that of the kept rows.

    Rows are appended at the end of a block and dropped at its start. A full block is replaced by one of twice
    the size of the kept rows.
    """

    def __init__(self) -> None:
        self._block = torch.empty(0)
        self._first = self._end = 0

    @property
    def rows(self) -> Tensor:
        """All kept rows, a view of the block."""
        return self._block[self._first : self._end]

    def append(self, rows: Tensor) -> None:
        """Adds rows of the same shape and dtype as the earlier ones."""
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
        """Drops the ``count`` oldest rows."""
        self._first += count
