"""Extraction of the features of one video of any length into a file.

T frames, M tokens of a frame, F width of a feature.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from fvcore.common.config import CfgNode
from numpy.typing import NDArray
from torch import Tensor

from slowfast.datasets.clip import Normalization
from slowfast.datasets.views.sampling import whole_video
from slowfast.errors import DecodeError
from slowfast.extraction.video import VideoRows, append_features
from slowfast.features.cache import Variant
from slowfast.features.row_times import RowTimes
from slowfast.features.source import describe_source
from slowfast.features.storage import FeatureFile
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.log import get_logger
from slowfast.models.frame_encoder import FrameEncoder
from slowfast.models.frame_format import frame_normalization
from slowfast.progress import Progress
from slowfast.video.decoding import OpenVideo, open_video
from slowfast.video.frame_times import FrameTimes
from vtn.frame_model import FrameModel
from vtn.inference.features import VideoFeatures
from vtn.inference.windows import device_of, evaluating

DECODING_THREADS = 4
"""Largest number of decoding threads; each holds frames of its own in memory."""

_MASK_ROWS = 65536

logger = get_logger(__name__)


@dataclass(frozen=True)
class FrameView:
    """The choice of frames of a video, and their preparation for the backbone.

    Attributes:
        fps: frames per second, evenly spaced; of a video with a lower frame rate all frames are used.
        variant: scaling and crop of the frames, by default the middle crop.
        normalization: of the frames.
    """

    fps: float
    variant: Variant
    normalization: Normalization

    def frames(self, times: FrameTimes) -> NDArray[np.int64]:
        """Returns the frames (T,) int64 of a video with these times, ascending."""
        return whole_video(times, 0, self.fps)

    def crops(self, count: int) -> list[FrameView]:
        """Returns the view in each of ``count`` crops; of one, the view itself."""
        if count == 1:
            return [self]
        variants = [replace(self.variant, crop=crop, num_crops=count) for crop in range(count)]
        return [replace(self, variant=variant) for variant in variants]

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values that identify the view; those of pictures and crops only where it has them."""
        normalization = {name: list(values) for name, values in self.normalization._asdict().items()}
        content = {"fps": self.fps, **self.variant.as_dict(), **normalization}
        del content["flip"]
        if self.variant.num_crops == 1:
            del content["crop"], content["num_crops"]
        return content


def build_frame_view(cfg: CfgNode, model: FrameModel, fps: float | None = None) -> FrameView:
    """Returns the frames of a video that the model encodes in the middle crop, their size and normalisation.

    Args:
        cfg: the configuration, with the model's frame format filled in.
        model: the model.
        fps: frames per second; None: ``DATA.TARGET_FPS / DATA.SAMPLING_RATE``, as in training.
    """
    whole = cfg.DATA.TEST_WHOLE_PICTURE
    # As the test of full videos scales them: several crops come from smaller frames than one crop does.
    fills_crop = whole or (cfg.TRAIN.EVAL_FULL_VIDEO and cfg.TEST.NUM_SPATIAL_CROPS > 1)
    return FrameView(
        fps or cfg.DATA.TARGET_FPS / cfg.DATA.SAMPLING_RATE,
        Variant(
            cfg.DATA.TEST_CROP_SIZE if fills_crop else min(cfg.DATA.TRAIN_JITTER_SCALES),
            cfg.DATA.TEST_CROP_SIZE,
            interpolation=cfg.DATA.INTERPOLATION,
            picture_multiple=cfg.DATA.TEST_PICTURE_MULTIPLE if whole else 0,
        ),
        frame_normalization(cfg, model),
    )


def extract_video_features(
    model: FrameModel,
    video_path: str | Path,
    view: FrameView,
    feature_path: str | Path,
    *,
    channels: str = "RGB",
    show_progress: bool = False,
    interrupt: Interrupt | None = None,
) -> VideoFeatures:
    """Decodes a video and encodes its frames chunk by chunk, while a thread decodes the next chunks.

    After an interruption, the next call with the same arguments continues after the last chunk. Memory does
    not grow with the length of the video, apart from the table of frames. Frames that cannot be decoded are
    left out when the video is scored: their rows are NaN, ``mask`` of the result marks them, and the log
    states how many there are.

    Args:
        model: encodes ``model.chunk_frames`` frames at a time; 0:
            ``slowfast.models.frame_encoder.CHUNK_FRAMES``.
        feature_path: the ``.npy`` file, see :class:`slowfast.features.storage.FeatureFile`.
        channels: the order in which the model takes the channels of the frames, ``RGB`` or ``BGR``.
        show_progress: show a progress bar, or log lines, with the remaining time.
        interrupt: checked after each chunk.

    Returns:
        The features, memory-mapped.

    Raises:
        DecodeError: where the file is not a video, and where no frame can be decoded.
        DataError: where another process is writing the file, and for a file of another program.
        NotFiniteError: for features that are NaN or infinite; earlier chunks are kept.
        Interrupted: after a signal; the message states what is kept.
    """
    encoder = build_encoder(model, view, channels)
    with open_video(str(video_path), threads=decoding_threads()) as video:
        (features,) = extract_crops(
            encoder,
            video,
            {view: feature_path},
            name=str(video_path),
            source=describe_features(encoder, video_path),
            indices=view.frames(video.times),
            show_progress=show_progress,
            interrupt=interrupt,
        )
    return features


def decoding_threads() -> int:
    """Returns the number of threads that decode one video."""
    return min(DECODING_THREADS, torch.get_num_threads())


def build_encoder(model: FrameModel, view: FrameView, channels: str = "RGB") -> FrameEncoder:
    """Returns the encoder of the RGB frames of a view; ``channels`` is the order that the model takes."""
    return FrameEncoder(
        model, view.normalization, device_of(model), channels=channels, chunk_frames=model.chunk_frames
    )


def describe_features(encoder: FrameEncoder, video_path: str | Path) -> dict[str, Any]:
    """Returns plain values that identify a video file and the way in which its features are computed."""
    model = cast(FrameModel, encoder.model)
    backbone = {**model.feature_source(), **model.feature_dtypes()}
    if encoder.channels != "RGB":
        backbone["channels"] = encoder.channels
    return {"video": describe_source(video_path), "backbone": backbone}


def extract_crops(
    encoder: FrameEncoder,
    video: OpenVideo,
    paths: Mapping[FrameView, str | Path],
    *,
    name: str,
    source: Mapping[str, Any],
    indices: NDArray[np.int64],
    show_progress: bool = False,
    interrupt: Interrupt | None = None,
    durable: bool = True,
) -> list[VideoFeatures]:
    """Encodes frames of an open video in one or several crops, decoded once; returns the features per crop.

    See :func:`extract_video_features`.

    Args:
        encoder: of a :class:`vtn.frame_model.FrameModel`.
        paths: view of each crop -> its feature file. The views differ in their crop alone.
        name: of the video, for messages.
        source: plain values that identify the video and the backbone; features of another source in the file
            are replaced. ``frames`` may describe the choice of frames; it is by default their number.
        indices: (T,) int64, ascending, the frames to encode.
        durable: see :class:`slowfast.features.storage.FeatureFile`.
    """
    model = cast(FrameModel, encoder.model)
    rows = VideoRows.of(indices, encoder.clip_grid)
    description = {"frames": len(rows.indices), **source}
    with ExitStack() as stack:
        files: dict[Variant, FeatureFile] = {}
        for view, path in paths.items():
            file = FeatureFile(
                path, model.feature_shape, {**description, "view": view.as_dict()}, durable=durable
            )
            files[view.variant] = stack.enter_context(file)
        with evaluating(model):
            _append_missing(
                encoder, video, rows, files, name=name, show_progress=show_progress, interrupt=interrupt
            )
        row_times = RowTimes.of_frames(video.times, rows.indices, rows.clip_grid)
        features = next(iter(files.values())).features()
        mask = _decoded_rows(features, row_times.numbers, name, _unit_of(rows))
        return [
            VideoFeatures(one.features(), row_times.times, row_times.numbers, mask, row_times.centres)
            for one in files.values()
        ]


def _append_missing(
    encoder: FrameEncoder,
    video: OpenVideo,
    rows: VideoRows,
    files: Mapping[Variant, FeatureFile],
    *,
    name: str,
    show_progress: bool,
    interrupt: Interrupt | None,
) -> None:
    """Encodes the frames whose features the files lack, with progress; arguments as in extract_crops."""
    file = next(iter(files.values()))  # which the messages name
    if file.count:
        logger.info("%d of %d %s are in %s", file.count, rows.count, _unit_of(rows), file.path)
    chunks = append_features(encoder, video, rows, files, name=name, missing=set(), ahead=2)
    left = len(rows.indices) - rows.restart(file.count)[2]
    with Progress(left, Path(name).name, "frame", enabled=show_progress) as progress, closing(chunks):
        for count in chunks:
            progress.update(count)
            if interrupt is not None and interrupt.requested():
                kept = f"{file.count} of {rows.count} {_unit_of(rows)} are in {file.path}"
                raise Interrupted(interrupt.signum, f"{kept}; the same call continues from there")


def _unit_of(rows: VideoRows) -> str:
    """Returns the unit of rows, in the plural."""
    return "frames" if rows.clip_grid is None else "time steps"


def _decoded_rows(features: Tensor, indices: NDArray[np.int64], name: str, unit: str) -> Tensor | None:
    """Returns which rows (T,) belong to frames that could be decoded; the others are NaN. None: all rows.

    Args:
        indices: (T,) the first frame of the video that each row belongs to, for the log.
        unit: what a row stands for, in the plural.

    Raises:
        DecodeError: where no frame could be decoded.
    """
    # In blocks, so that the comparison does not need memory for all rows at once.
    mask = torch.cat([~rows.flatten(1)[:, 0].isnan() for rows in features.split(_MASK_ROWS)])
    lost = int((~mask).sum())
    if lost == len(mask):
        raise DecodeError(name, "corrupt", "no frame can be decoded")
    if lost == 0:
        return None
    first = indices[int(mask.logical_not().nonzero()[0])]
    logger.warning(
        "%s: %d of %d %s cannot be decoded, the first of them is frame %d; they are left out",
        name,
        lost,
        len(mask),
        unit,
        first,
    )
    return mask
