"""The video processor: from the file of a video to the frames that its evaluation chooses, as tensors.

B videos, V views of each, T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psutil
import torch
from fvcore.common.config import CfgNode
from numpy.typing import NDArray
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import is_valid_video

from slowfast.datasets.clip import Clip, Normalization, StreamedClip
from slowfast.datasets.views.view_reader import WholeVideoViews
from slowfast.errors import InputError
from slowfast.models.clip_grid import ClipGrid
from slowfast.video.frame_times import FrameTimes
from vtn.arguments.evaluation import build_evaluation_config
from vtn.inference.extract import DECODING_THREADS
from vtn.predictor.videos import Video, as_source
from vtn.predictor.views import ViewPlan, build_view_plan

_CHUNK_FRAMES = 64
_BYTES_PER_VALUE = 5  # float32 beside the uint8 that it is made from


@dataclass(frozen=True)
class _Evaluated:
    """The facts about a model on which the reading of videos depends."""

    frame_mean: tuple[float, ...]
    frame_std: tuple[float, ...]
    position_rate: float | None
    clip_grid: ClipGrid | None
    num_classes: int = 1  # does not matter to frames


class _AllFrames(WholeVideoViews):
    """The full video in one view that has every one of its frames."""

    def frames(self, times: FrameTimes, view: int, rng: np.random.Generator) -> NDArray[np.int64]:
        return np.arange(times.num_frames)


class VTNVideoProcessor(BaseVideoProcessor):
    """A reader of videos: the frames that :class:`vtn.Predictor` scores, cropped and normalised.

    The frames are spread over the **full** video, as the model's evaluation has them, and have positions in
    it. All of them are in memory, unlike with :class:`vtn.Predictor`, which reads long videos piece by piece.

    Args:
        evaluation: config key -> value, see :mod:`vtn.arguments.evaluation`.
        image_mean, image_std: normalisation of the frames.
        position_rate: see ``slowfast.models.capabilities.VideoModel``.
        clip_grid: fields of ``slowfast.models.clip_grid.ClipGrid``; None: the model encodes single frames.
        num_frames: frames per video, spread over it; None: as in ``evaluation``.
        fps: frames per second, in place of ``num_frames``; None: as in ``evaluation``.

    Raises:
        InputError: for ``num_frames`` together with ``fps``, and for values out of range.
        ConfigError: for an unsuitable evaluation.
    """

    model_input_names = ["pixel_values_videos", "positions", "mask"]  # noqa: RUF012 (so in transformers)

    def __init__(
        self,
        evaluation: Mapping[str, Any] | None = None,
        image_mean: Sequence[float] = (0.45, 0.45, 0.45),
        image_std: Sequence[float] = (0.225, 0.225, 0.225),
        position_rate: float | None = None,
        clip_grid: Mapping[str, Any] | None = None,
        num_frames: int | None = None,
        fps: float | None = None,
        **_: Any,
    ) -> None:
        super().__init__(image_mean=[*image_mean], image_std=[*image_std])
        self.evaluation = dict(evaluation or {})
        self.position_rate = position_rate
        earlier = {"frame_rate": "fps"}  # in folders of earlier versions
        self.clip_grid = None if clip_grid is None else {earlier.get(k, k): v for k, v in clip_grid.items()}
        self.num_frames, self.fps = num_frames, fps
        if self.evaluation:
            self._plan(num_frames, fps, do_sample_frames=True)  # reports unsuitable values now

    def __call__(self, videos: Video | Sequence[Video], **options: Any) -> BatchFeature:
        """Returns :meth:`preprocess` of its arguments."""
        return self.preprocess(videos, **options)

    def preprocess(  # type: ignore[override]
        self,
        videos: Video | Sequence[Video],
        *,
        num_frames: int | None = None,
        fps: float | None = None,
        do_sample_frames: bool = True,
        video_fps: float | None = None,
        return_tensors: str | None = "pt",
    ) -> BatchFeature:
        """Reads videos.

        Args:
            videos: one or a list: a path; an ``http(s)://`` address; an open, seekable binary file; or frames
                (T, H, W, 3) uint8 RGB as an array, a tensor, or a list of images.
            num_frames, fps: in place of the processor's own.
            do_sample_frames: False: every frame of a video.
            video_fps: frames per second of frames in memory; None: those of the clips that the model was
                trained with.
            return_tensors: ``pt``.

        Returns:
            ``pixel_values_videos`` (B, T, 3, H, W) float32, or (B, V, T, 3, H, W) where the evaluation has
            several crops; ``positions`` (B, T) int64; and for videos of different lengths ``mask`` (B, T)
            bool, True where a frame is real.

        Raises:
            DecodeError, OSError: for a video that cannot be decoded.
            InputError: for unsuitable arguments, and for frames that do not fit into the memory.
            DataError: for frames of different sizes.
        """
        if return_tensors not in ("pt", None):
            raise InputError(f"return_tensors = {return_tensors!r}: must be pt")
        plan, cfg = self._plan(num_frames, fps, do_sample_frames=do_sample_frames)
        is_one = is_valid_video(videos) or not isinstance(videos, list | tuple)
        several: Any = [videos] if is_one else videos
        clips = []
        for video in several:
            source = as_source(_joined(video), default_fps=cfg.DATA.TARGET_FPS, video_fps=video_fps)
            clips += [_in_memory(clip, source.name) for clip in plan.read(source, DECODING_THREADS).clips]
        batch = Clip.collate(clips)
        frames = batch.inputs(Normalization(tuple(self.image_mean), tuple(self.image_std))).transpose(1, 2)
        views = plan.num_views
        data = {
            "pixel_values_videos": frames if views == 1 else frames.unflatten(0, (-1, views)),
            "positions": batch.positions[::views],
        }
        if batch.mask is not None:
            data["mask"] = batch.mask[::views]
        return BatchFeature(data)

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of ``video_preprocessor_config.json``, see :mod:`vtn.folder.layout`."""
        content = {
            "evaluation": dict(self.evaluation),
            "image_mean": [*self.image_mean],
            "image_std": [*self.image_std],
            "position_rate": self.position_rate,
            "clip_grid": self.clip_grid,
        }
        chosen = {"num_frames": self.num_frames, "fps": self.fps}
        return {**content, **{name: value for name, value in chosen.items() if value is not None}}

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoVideoProcessor") -> None:
        """Does nothing: a folder already names its classes, and needs no copy of this file."""

    def _plan(
        self, num_frames: int | None, fps: float | None, *, do_sample_frames: bool
    ) -> tuple[ViewPlan, CfgNode]:
        """Returns the way of reading videos, and the configuration that it follows."""
        if not self.evaluation:
            raise InputError(
                "evaluation = {}: the model does not come with the sampling of its frames; publish it by "
                "`vtn publish` with the configuration that it was trained with"
            )
        if num_frames is not None and fps is not None:
            raise InputError(f"num_frames = {num_frames}, fps = {fps}: give one of the two")
        if num_frames is None and fps is None:
            num_frames, fps = self.num_frames, self.fps
        changes: dict[str, Any] = {}
        if num_frames is not None:
            if num_frames < 1:
                raise InputError(f"num_frames = {num_frames}: must be 1 or more")
            changes = {"TRAIN.EVAL_FULL_VIDEO": True, "TRAIN.EVAL_NUM_FRAMES": num_frames}
        grid = None if self.clip_grid is None else ClipGrid(**self.clip_grid)
        mean, std = tuple(self.image_mean), tuple(self.image_std)
        model: Any = _Evaluated(mean, std, self.position_rate, grid)
        cfg = build_evaluation_config({**self.evaluation, **changes}, model, source="VTNVideoProcessor")
        plan = build_view_plan(cfg, model, fps=fps)
        if plan.num_views > 1 and cfg.DATA.ENSEMBLE_METHOD != "sum":
            raise InputError(
                f"DATA.ENSEMBLE_METHOD = {cfg.DATA.ENSEMBLE_METHOD}: the scores of several crops can only be "
                "averaged here; use vtn.Predictor"
            )
        if not do_sample_frames and isinstance(plan.scheme, WholeVideoViews):
            plan = replace(plan, scheme=_AllFrames(**vars(plan.scheme)))
        return plan, cfg


def _joined(video: Any) -> Any:
    """Returns the frames of a video as one array where they are a list, as for processors of transformers.

    Raises:
        InputError: for frames of different sizes.
    """
    if not (isinstance(video, list | tuple) and is_valid_video(video)):
        return video
    try:
        return torch.stack([*video]) if isinstance(video[0], Tensor) else np.stack(video)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"frames of one video must have one size ({error}); resize them") from error


def _in_memory(clip: Clip | StreamedClip, name: str) -> Clip:
    """Returns a view with its frames; those of a long view are decoded now.

    Raises:
        InputError: for frames that need more memory than there is.
    """
    if isinstance(clip, Clip):
        return clip
    count = len(clip.view.indices)
    # Checked before decoding starts; whole pictures have at least this many pixels.
    scheme: Any = clip.view.reader.scheme
    side = scheme.short_side if scheme.picture_multiple else scheme.crop_size
    needed, free = count * side * side * 3 * _BYTES_PER_VALUE, psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            f"{name}: its {count:,} frames need {needed / 2**30:.1f} GiB of memory, but "
            f"{free / 2**30:.1f} GiB are free; give num_frames or fps, or use vtn.Predictor, which reads "
            "them piece by piece"
        )
    frames: Tensor | None = None
    start = 0
    chunks: Any = clip.view.chunks(_CHUNK_FRAMES)
    with closing(chunks):  # ends the decoder's threads, also after an error
        for chunk in chunks:  # (3, t, H, W)
            if frames is None:
                frames = torch.empty(count, *chunk.shape[2:], 3, dtype=torch.uint8)
            stop = start + chunk.shape[1]
            frames[start:stop] = chunk.permute(1, 2, 3, 0)
            start = stop
    assert frames is not None  # a view has at least one frame
    return Clip(frames.permute(3, 0, 1, 2), clip.view.positions, clip.label, clip.video_id, clip.view_id)
