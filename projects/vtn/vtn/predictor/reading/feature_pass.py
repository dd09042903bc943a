"""The features of one video for a prediction, kept on the disk while they are used.

T frames.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slowfast.errors import InputError
from slowfast.files import FULL_DISK
from slowfast.interrupt import Interrupt
from slowfast.models.frame_encoder import FrameEncoder
from slowfast.models.precision import Precision
from slowfast.video.decoding import OpenVideo
from slowfast.video.frame_times import FrameTimes
from vtn.inference.extract import DECODING_THREADS, FrameView, extract_crops
from vtn.inference.features import VideoFeatures
from vtn.predictor.videos import VideoSource
from vtn.predictor.views import ViewPlan


@dataclass(frozen=True)
class CropFeatures:
    """The features of one video in the crops of the test.

    Attributes:
        crops: of each crop whose scores the test merges.
        middle: of the middle crop, which may be one of them.
    """

    crops: Sequence[VideoFeatures]
    middle: VideoFeatures


@dataclass(frozen=True)
class FeaturePass:
    """A backbone and the frames that it encodes.

    Attributes:
        encoder: for RGB frames.
        plan: chooses the frames and crops of the test.
        view: chooses frames evenly spaced in time, and places all of them: the middle crop, scaled as for the
            test.
    """

    encoder: FrameEncoder
    plan: ViewPlan
    view: FrameView

    @contextmanager
    def read(self, source: VideoSource, *, of_test: bool) -> Iterator[tuple[OpenVideo, VideoFeatures]]:
        """Yields the open video and its features in the middle crop, which are valid within the context.

        Args:
            of_test: the frames that the test would choose; False: those of ``view``.

        Raises:
            DecodeError, OSError: for a video that cannot be decoded.
            InputError, NotFiniteError: for frames that the model does not accept, and features that are NaN.
        """
        frames = self.plan.frames if of_test else self.view.frames
        with self._extract(source, [self.view], frames) as (video, (features,)):
            yield video, features

    @contextmanager
    def read_crops(
        self, source: VideoSource, *, show_progress: bool = False, interrupt: Interrupt | None = None
    ) -> Iterator[tuple[OpenVideo, CropFeatures]]:
        """Yields the open video and the features of the test's frames in all of its crops, decoded once.

        The errors are those of :meth:`read`.

        Args:
            show_progress, interrupt: see :func:`vtn.inference.extract.extract_video_features`.
        """
        crops = self.view.crops(self.plan.num_crops)
        # An even number of crops has none in the middle.
        views = crops if len(crops) % 2 else [*crops, self.view]
        frames = self.plan.frames
        with self._extract(source, views, frames, show_progress, interrupt) as (video, features):
            middle = features[len(crops) // 2] if len(crops) % 2 else features[-1]
            yield video, CropFeatures(features[: len(crops)], middle)

    @contextmanager
    def _extract(
        self,
        source: VideoSource,
        views: Sequence[FrameView],
        frames: Callable[[FrameTimes], NDArray[np.int64]],
        show_progress: bool = False,
        interrupt: Interrupt | None = None,
    ) -> Iterator[tuple[OpenVideo, list[VideoFeatures]]]:
        """Yields the open video and the features of its chosen frames in each view."""
        with (
            tempfile.TemporaryDirectory(prefix="vtn-") as folder,
            source.open(DECODING_THREADS) as video,
        ):
            paths = {view: Path(folder, f"features-{number}.npy") for number, view in enumerate(views)}
            with _naming_full_disk():
                features = extract_crops(
                    self.encoder,
                    video,
                    paths,
                    name=source.name,
                    source={"video": source.name},
                    indices=frames(video.times),
                    durable=False,
                    show_progress=show_progress,
                    interrupt=interrupt,
                )
            # From features on, scores are float32 also within the autocast of a caller's training.
            with Precision(self.encoder.device.type).autocast():
                yield video, features


@contextmanager
def _naming_full_disk() -> Iterator[None]:
    """Raises ``InputError`` for a full disk of temporary files, which is not a failure of the video."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise InputError(
            f"the disk of {tempfile.gettempdir()} is too full for the features of the video; make room, "
            "or set TMPDIR to another folder"
        ) from error
