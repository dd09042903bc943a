"""The features of one video for a prediction, kept on the disk while they are used.

T frames.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slowfast.interrupt import Interrupt
from slowfast.models.frame_encoder import FrameEncoder
from slowfast.video.decoding import OpenVideo
from slowfast.video.frame_times import FrameTimes
from vtn.inference.extract import FrameView, extract_open_video
from vtn.inference.features import VideoFeatures

DECODING_THREADS = 4


@dataclass(frozen=True)
class FeaturePass:
    """A backbone and the frames that it encodes.

    Attributes:
        encoder: for RGB frames.
        test_frames: returns the frames (T,) int64 that the test would choose, ascending.
        view: chooses frames evenly spaced in time, and places all of them.
    """

    encoder: FrameEncoder
    test_frames: Callable[[FrameTimes], NDArray[np.int64]]
    view: FrameView

    @contextmanager
    def read(
        self,
        name: str,
        open_video: Callable[[int], OpenVideo],
        *,
        of_test: bool,
        show_progress: bool = False,
        interrupt: Interrupt | None = None,
    ) -> Iterator[tuple[OpenVideo, VideoFeatures]]:
        """Yields the open video and its features, which are valid within the context.

        Args:
            name: of the video, for messages.
            open_video: opens it for decoding by that number of threads.
            of_test: the frames that the test would choose; False: those of ``view``.
            show_progress, interrupt: see :func:`vtn.inference.extract.extract_video_features`.

        Raises:
            DecodeError, OSError: for a video that cannot be decoded.
            InputError, NotFiniteError: for frames that the model does not accept, and features that are NaN.
        """
        with (
            tempfile.TemporaryDirectory(prefix="vtn-") as folder,
            open_video(DECODING_THREADS) as video,
        ):
            features = extract_open_video(
                self.encoder,
                video,
                self.view,
                Path(folder, "features.npy"),
                name=name,
                source={"video": name},
                indices=self.test_frames(video.times) if of_test else None,
                show_progress=show_progress,
                interrupt=interrupt,
            )
            yield video, features
