"""Streams of frames: scores of the video so far at any moment, with each frame encoded once.

T frames of a push, R rows of features (one per frame, or per time step for models that encode clips), H W
pixels, M tokens of a frame, F width of a feature, K classes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from slowfast.datasets.loading.prefetch import Prefetch
from slowfast.errors import InputError, check_positive
from slowfast.models.frame_encoder import FrameEncoder, as_tensor
from slowfast.models.frame_format import own_normalization
from slowfast.video.frame_times import FrameTimes
from vtn.frame_model import FrameModel
from vtn.inference.features import VideoFeatures
from vtn.inference.stream_rows import RowMaker, RowQueue, StreamRows
from vtn.inference.windows import device_of, evaluating, require_model, score_video

_RECENT = 8
"""Number of newest frames whose median distance is taken for the duration of the last frame."""

Times = float | Sequence[float] | np.ndarray
"""Display times in seconds: of one frame, or of each frame."""


class VideoStream:
    """Class scores of a video whose frames arrive in order, from a file or a camera.

    The kept frames are scored as a video of their own, whose positions start at 0.

    Args:
        model: a :class:`vtn.VTN` or another :class:`vtn.frame_model.FrameModel`.
        keep_seconds: duration that is kept and scored, from the frame that is displayed at its start on, as
            for ``scores(last_seconds=keep_seconds)``; older features are dropped, so that memory is bounded.
            None: all frames are kept (M · F numbers per frame).
        head_act: the score activation: softmax, sigmoid, none.

    Raises:
        InputError: for a ``keep_seconds`` that is not above 0 and finite.

    >>> import numpy as np
    >>> from vtn import VTN
    >>> model = VTN("test_vit", num_classes=3, pretrained=False)
    >>> stream = VideoStream(model, keep_seconds=60)
    >>> size = model.frame_size
    >>> for second in range(12):
    ...     stream.push(np.zeros((size, size, 3), np.uint8), second)  # or (T, H, W, 3) with T times
    >>> len(stream), stream.scores().shape  # of all kept frames
    (12, (3,))
    >>> stream.scores(last_seconds=10).shape  # of the last ten seconds
    (3,)
    """

    def __init__(
        self, model: FrameModel, *, keep_seconds: float | None = None, head_act: str = "softmax"
    ) -> None:
        check_positive(keep_seconds=keep_seconds)
        self.model = model
        self.keep_seconds = keep_seconds
        self.head_act = head_act
        require_model(model)
        normalization = own_normalization(model)
        encoder = FrameEncoder(model, normalization, device_of(model), chunk_frames=model.chunk_frames)
        self._maker = RowMaker(encoder)
        self._queue = RowQueue()
        self._preview: StreamRows | None = None
        self._previewed = True
        # Times of the newest frames, and the number of the newest one.
        self._recent = np.empty(0)
        self._last_index = -1
        self._count = 0

    def __len__(self) -> int:
        """Returns the number of kept rows of features: frames, or time steps of complete clips."""
        seconds = self._queue.rows.seconds.numpy()
        if self.keep_seconds is None or len(seconds) == 0:
            return len(seconds)
        return len(seconds) - self._find_start(seconds, self.keep_seconds)

    @property
    def seconds(self) -> float:
        """Display time of the newest frame, in seconds."""
        self._require_frames()
        return float(self._recent[-1])

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
            InputError: for frames of another shape or dtype, for none, and for times or indices that do not
                ascend. After any exception the stream is as it was before.
        """
        frames = as_tensor(frames)
        if frames.ndim == 3:
            frames = frames[None]
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != torch.uint8:
            raise InputError(
                f"frames have shape {tuple(frames.shape)} and dtype {frames.dtype}: must be uint8 (frames, "
                "height, width, 3)"
            )
        times, numbers = self._check_times(len(frames), seconds, indices)
        maker = self._maker.copy()
        with evaluating(self.model):
            made = list(maker.push(frames, times, numbers))
        # Only now: frames that the model refuses change nothing.
        self._maker = maker
        self._note_times(times, numbers)
        for rows in made:
            self._add(rows)

    def push_features(
        self, features: np.ndarray | Tensor, seconds: Times, indices: Sequence[int] | np.ndarray | None = None
    ) -> None:
        """Adds rows of features (R, F) or (R, M, F), or one row (F,) or (M, F); see :meth:`push`."""
        shape, features = self.model.feature_shape, as_tensor(features)
        features = features[None] if features.shape == shape else features
        if features.ndim != 1 + len(shape) or features.shape[1:] != shape or not features.is_floating_point():
            expected = ", ".join(map(str, shape))
            raise InputError(
                f"features have shape {tuple(features.shape)} and dtype {features.dtype}: must be (frames, "
                f"{expected}) of a float dtype"
            )
        times, numbers = self._check_times(len(features), seconds, indices)
        self._note_times(times, numbers)
        features = features.detach().to(device_of(self.model))  # beside those of pushed frames
        self._add(StreamRows(features, times, numbers, times, numbers))

    def follow(self, source: Iterable[tuple[np.ndarray, Times]]) -> Generator[float, None, None]:
        """Pushes each (frames, seconds) of a source; yields the time of the newest frame after each push.

        The source runs in a thread, so that decoding and encoding overlap. Its exceptions are raised here.
        Closing the generator ends the thread.
        """
        with Prefetch(source) as pushes:
            for frames, seconds in pushes:
                self.push(frames, seconds)
                yield self.seconds

    def scores(self, last_seconds: float | None = None) -> np.ndarray:
        """Returns the class scores (K,) float32 of all kept frames, or of the last seconds of them.

        Raises:
            InputError: before the first push, and for a duration that is not above 0 and finite.
        """
        check_positive(last_seconds=last_seconds)
        given = [seconds for seconds in (last_seconds, self.keep_seconds) if seconds is not None]
        return score_video(self.model, self._video(min(given, default=None)), head_act=self.head_act)

    def video(self) -> VideoFeatures:
        """Returns all kept frames as a video that starts at 0; it is valid until the next push."""
        return self._video(self.keep_seconds)

    def _video(self, last: float | None) -> VideoFeatures:
        """Returns the last seconds as a video that starts at 0; None: all frames that there are."""
        self._require_frames()
        rows = self._queue.rows
        if (tail := self._incomplete()) is not None:
            rows = StreamRows(*map(torch.cat, zip(rows, tail, strict=True))) if len(rows.seconds) else tail
        features, *columns = rows
        # Times are related to the first frame of the result: others may not be kept, and another subtraction
        # rounds positions half-way between two numbers in another way.
        first = 0 if last is None else self._find_start(columns[0].numpy(), last)
        seconds, indices, centre_seconds, centre_indices = (column.numpy()[first:] for column in columns)
        start, end = float(seconds[0]), self._end - float(seconds[0])
        times, base = FrameTimes(seconds - start, end, centre_seconds - start), indices[0]
        video = VideoFeatures(features[first:], times, indices - base, None, centre_indices - base)
        return video if last is None else video.part(max(0.0, self._end - last - start), end)

    def _find_start(self, seconds: np.ndarray, last: float) -> int:
        """Returns which of the rows at these seconds is displayed where the last seconds begin."""
        return int(FrameTimes(seconds, self._end).at_seconds(np.array([self._end - last]))[0])

    def _incomplete(self) -> StreamRows | None:
        """Returns the rows of frames whose clip is not complete yet; None where all are."""
        if not self._previewed:
            with evaluating(self.model):
                self._preview = self._maker.preview()
            self._previewed = True
        return self._preview

    @property
    def _end(self) -> float:
        """End of the newest frame in seconds, if it lasts as long as the frames before it.

        The duration is the median of the last few frames, since the source may have paused once.
        """
        newest = self._recent
        # Of a single frame the duration is not known; 25 frames per second are common.
        length = float(np.median(np.diff(newest))) if len(newest) > 1 else 1 / 25
        return float(newest[-1]) + length

    def _require_frames(self) -> None:
        if self._count == 0:
            raise InputError("the stream has no frame yet; call push first")

    def _check_times(
        self, count: int, seconds: Times, indices: Sequence[int] | np.ndarray | None
    ) -> tuple[Tensor, Tensor]:
        if count == 0:
            raise InputError("a push has no frames: must be at least one; leave an empty one out")
        given = np.arange(self._count, self._count + count) if indices is None else indices
        try:
            times, numbers = np.atleast_1d(np.asarray(seconds, np.float64)), np.asarray(given, np.float64)
        except (TypeError, ValueError) as error:
            raise InputError("seconds, indices: must be numbers, one for each frame") from error
        last_index = np.array([self._last_index])
        for name, values, last in (("seconds", times, self._recent[-1:]), ("indices", numbers, last_index)):
            if values.shape != (count,):
                raise InputError(f"{name} have shape {values.shape}: must be ({count},) for {count} frames")
            before = last if self._count else values[:0]
            if not (np.isfinite(values).all() and (np.diff(np.concatenate([before, values])) > 0).all()):
                raise InputError(
                    f"{name} = {values.tolist()[:5]} …: must be finite and ascend, also after earlier ones"
                )
        return torch.from_numpy(times), torch.from_numpy(numbers.astype(np.int64))

    def _note_times(self, times: Tensor, numbers: Tensor) -> None:
        self._recent = np.concatenate([self._recent, times.numpy()])[-_RECENT:]
        self._last_index = int(numbers[-1])
        self._count += len(times)
        self._preview, self._previewed = None, self.model.clip_grid is None

    def _add(self, rows: StreamRows) -> None:
        self._queue.append(rows)
        if self.keep_seconds is not None:
            # The end is estimated: later frames may show that the newest one was shorter. Only frames that
            # are out of the window in any case are dropped.
            oldest = float(self._recent[-1]) - self.keep_seconds
            displayed = int(torch.searchsorted(self._queue.rows.seconds, oldest, side="right")) - 1
            self._queue.drop(max(0, displayed))
