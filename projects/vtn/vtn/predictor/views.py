"""The views of a video that a prediction scores, read as the test of the engine reads them.

T frames of a view.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from fvcore.common.config import CfgNode
from numpy.typing import NDArray

from slowfast.datasets.clip import Clip, StreamedClip
from slowfast.datasets.views.build import build_views
from slowfast.datasets.views.shared_crops import SharedCropsReader
from slowfast.datasets.views.streamed_view import StreamedView
from slowfast.datasets.views.view_reader import ClipViews, ViewReader, WholeVideoViews
from slowfast.errors import ConfigError, InputError, check_positive
from slowfast.models.capabilities import clip_grid_of
from slowfast.models.clip_grid import ClipGrid
from slowfast.video.decoding import OpenVideo
from slowfast.video.frame_times import FrameTimes
from vtn.frame_model import FrameModel
from vtn.inference.prediction import ScoredViews
from vtn.predictor.videos import VideoSource

DEFAULT_STREAM_FRAMES = 512


@dataclass(frozen=True)
class ReadVideo:
    """The views of one video.

    Attributes:
        seconds: duration of the video.
        num_frames: frames of all temporal views.
        clips: the views in order; those of very many frames are decoded later.
    """

    seconds: float
    num_frames: int
    clips: tuple[Clip | StreamedClip, ...]


@dataclass(frozen=True)
class ViewPlan:
    """The views of each video, and how they are read.

    Attributes:
        scheme: times and crops of the views.
        position_rate, clip_grid: of the model, see ``slowfast.models.capabilities``.
        stream_frames: views of more frames are decoded chunk by chunk while the model runs.
        reverse_channels: frames are BGR instead of RGB.
        crops_of_test: different crops whose scores the test merges; the plan may have the middle one alone.
    """

    scheme: WholeVideoViews | ClipViews
    position_rate: float | None
    clip_grid: ClipGrid | None
    stream_frames: int
    reverse_channels: bool
    crops_of_test: int = 1

    @property
    def num_views(self) -> int:
        """Views per video."""
        return self.scheme.num_temporal * self.scheme.num_crops

    @property
    def num_crops(self) -> int:
        """Different crops per temporal view; whole pictures are all the same."""
        return 1 if self.scheme.picture_multiple else self.scheme.num_crops

    @property
    def is_full_video(self) -> bool:
        """Whether the only temporal view is the full video."""
        return isinstance(self.scheme, WholeVideoViews)

    @property
    def channels(self) -> str:
        """The order in which the model takes the channels, ``RGB`` or ``BGR``."""
        return "BGR" if self.reverse_channels else "RGB"

    @property
    def scored_views(self) -> ScoredViews:
        """The views of each video, for its prediction."""
        is_middle = self.num_crops == 1 and self.crops_of_test > 1
        return ScoredViews(self.scheme.num_temporal, self.num_crops, is_middle)

    @property
    def middle_crop(self) -> ScoredViews:
        """The middle crop alone, for predictions that do not merge crops."""
        return ScoredViews(is_middle=self.crops_of_test > 1)

    def frames(self, times: FrameTimes) -> NDArray[np.int64]:
        """Returns the frames (T,) of the first temporal view, ascending."""
        return self.scheme.frames(times, 0, np.random.default_rng(0))

    def in_channel_order(
        self, pushes: Iterable[tuple[np.ndarray, np.ndarray]]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (frames (t, H, W, 3) RGB, seconds) with the channels in the order of the model."""
        for frames, seconds in pushes:
            yield frames[..., ::-1] if self.reverse_channels else frames, seconds

    def read(self, source: VideoSource, threads: int = 1) -> ReadVideo:
        """Reads the views of a video.

        Args:
            threads: number of decoding threads.

        Raises:
            DecodeError, OSError: for a video that cannot be decoded.
        """
        opener = _Opener(source, threads)
        reader_class = SharedCropsReader if self.scheme.num_crops > 1 else ViewReader
        reader = reader_class(
            self.scheme,
            self.position_rate,
            opener,
            clip_grid=self.clip_grid,
            stream_frames=self.stream_frames,
        )
        clips = tuple(self._read_view(reader, source.name, view) for view in range(self.num_views))
        assert opener.times is not None  # there is at least one view
        lengths = [_num_frames(clip) for clip in clips[:: self.scheme.num_crops]]
        return ReadVideo(opener.times.duration, sum(lengths), clips)

    def _read_view(self, reader: ViewReader, name: str, view: int) -> Clip | StreamedClip:
        temporal, crop = divmod(view, self.scheme.num_crops)
        read = reader.read(name, temporal, crop, np.random.default_rng(0))
        if isinstance(read, StreamedView):
            return StreamedClip(replace(read, reverse_channels=self.reverse_channels), 0, 0, view)
        frames, positions = read
        return Clip(frames.flip(0) if self.reverse_channels else frames, positions, 0, 0, view)


class _Opener:
    """A function that opens one video, whatever path it is called with, and keeps its times."""

    def __init__(self, source: VideoSource, threads: int) -> None:
        self._source = source
        self._threads = threads
        self.times: FrameTimes | None = None

    def __call__(self, path: str) -> OpenVideo:
        video = self._source.open(self._threads)
        self.times = video.times
        return video


def build_view_plan(
    cfg: CfgNode,
    model: FrameModel,
    *,
    views: tuple[int, int] | None = None,
    fps: float | None = None,
) -> ViewPlan:
    """Returns the views that a configuration tests, or others.

    Without ``views`` and ``fps`` they are those of the test where it is of full videos. Where the test is of
    clips, the full video at the frame rate of the clips takes their place, in one crop.

    Args:
        cfg: see ``vtn.arguments.evaluation.build_evaluation_config``.
        model: for its positions, and the clips that it encodes.
        views: clips per video, and crops per clip; None: the full video.
        fps: frames per second of the full video; None: as the configuration has it.

    Raises:
        InputError: for numbers that are not above 0, and for ``views`` together with ``fps``.
    """
    if views is not None and fps is not None:
        raise InputError(f"views = {views}, fps = {fps}: the frames of clips are fixed; give one of the two")
    if views is not None:
        views = _as_counts(views)
    check_positive(fps=fps)
    crops_of_test = 1 if cfg.DATA.TEST_WHOLE_PICTURE else cfg.TEST.NUM_SPATIAL_CROPS
    cfg = cfg.clone()
    cfg.defrost()
    if views is not None:
        crops_of_test = views[1]
        cfg.TRAIN.EVAL_FULL_VIDEO = False
        cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS = views
    elif fps is not None or not cfg.TRAIN.EVAL_FULL_VIDEO:
        if not cfg.TRAIN.EVAL_FULL_VIDEO:
            cfg.TEST.NUM_SPATIAL_CROPS = 1
        cfg.TRAIN.EVAL_FULL_VIDEO, cfg.TRAIN.EVAL_NUM_FRAMES = True, 0
        cfg.DATA.TARGET_FPS = fps or cfg.DATA.TARGET_FPS / cfg.DATA.SAMPLING_RATE
    scheme = build_views(cfg, "test")
    if not isinstance(scheme, WholeVideoViews | ClipViews):
        raise ConfigError(f"the test has {type(scheme).__name__}: must be clips or full videos")
    return ViewPlan(
        scheme,
        model.position_rate,
        clip_grid_of(model),
        cfg.TRAIN.EVAL_STREAM_FRAMES or DEFAULT_STREAM_FRAMES,
        cfg.DATA.REVERSE_INPUT_CHANNEL,
        crops_of_test,
    )


def _num_frames(clip: Clip | StreamedClip) -> int:
    return len(clip.positions) if isinstance(clip, Clip) else len(clip.view.indices)


def _as_counts(views: object) -> tuple[int, int]:
    """Returns clips per video and crops per clip as integers of Python, which a configuration can hold."""
    try:
        clips, crops = map(operator.index, cast(Any, views))
    except (TypeError, ValueError):
        clips = crops = 0
    if min(clips, crops) < 1:
        raise InputError(f"views = {views}: must be clips per video and crops per clip, each 1 or more")
    return clips, crops
