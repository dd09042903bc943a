"""From a video file of any length to the features of its frames, on the disk.

t frames of a chunk, T frames, H W pixels, F width of a feature.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from slowfast.datasets.clip import normalize
from slowfast.datasets.loading.prefetch import Prefetch
from slowfast.datasets.views.sampling import whole_video
from slowfast.datasets.views.spatial import fixed_crop
from slowfast.errors import DecodeError, NotFiniteError
from slowfast.features.storage import FeatureFile, describe_file
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.log import get_logger
from slowfast.progress import Progress
from slowfast.video.decoding import open_video
from slowfast.video.frame_times import FrameTimes
from slowfast.video.placement import scaled_by
from vtn.frame_model import FrameModel
from vtn.inference.features import VideoFeatures
from vtn.inference.stream import CHUNK_FRAMES
from vtn.inference.windows import device_of, evaluating

# Each holds pictures of its own in the work.
DECODING_THREADS = 4
_MASK_ROWS = 65536

logger = get_logger(__name__)


@dataclass(frozen=True)
class FrameView:
    """Which frames of a video a backbone is shown, and how.

    Attributes:
        fps: frames a second, spread evenly; a slower video is shown whole.
        short_side: pixels to which the short side is scaled.
        crop_size: pixels of the square that is cut from the middle.
        mean, std: normalisation per channel, of pixels scaled to 0 … 1.
        interpolation: of the scaling, ``bilinear`` or ``bicubic``.
    """

    fps: float
    short_side: int
    crop_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"


def extract_features(
    model: FrameModel,
    video_path: str | Path,
    view: FrameView,
    feature_path: str | Path,
    *,
    show_progress: bool = False,
    interrupt: Interrupt | None = None,
) -> VideoFeatures:
    """Decodes a video and runs the backbone on it, chunk by chunk; decoding runs ahead in a thread.

    Whatever ends this early, the next call with the same arguments goes on behind the last chunk. Memory does
    not grow with the length, but for the table of frames. Frames that cannot be decoded are left out of what
    the encoder sees: their rows are NaN, the mask says which they are, and the log how many.

    Args:
        model: encodes ``chunk_frames`` frames at a time (32 where it is 0).
        feature_path: the ``.npy`` file, see :class:`slowfast.features.storage.FeatureFile`.
        show_progress: a bar, or log lines, with the time that is left.
        interrupt: asked after each chunk.

    Returns:
        The features, memory-mapped.

    Raises:
        DecodeError: for what is no video, and where no frame can be decoded.
        DataError: when another process is writing the file, or the file is none of features.
        NotFiniteError: for features that are NaN or infinite; what came before them is kept.
        Interrupted: once a signal has come; says what is kept.
    """
    with open_video(str(video_path), threads=min(DECODING_THREADS, torch.get_num_threads())) as video:
        indices = whole_video(video.times, 0, view.fps)
        description = {
            "video": describe_file(video_path),
            "frames": len(indices),
            "view": {**asdict(view), "mean": list(view.mean), "std": list(view.std)},
            "backbone": {**model.feature_source(), **model.feature_dtypes()},
        }
        with FeatureFile(feature_path, model.feature_dim, description) as file:
            if file.count:
                logger.info("%d of %d frames are in %s", file.count, len(indices), file.path)
            left = indices[file.count :]
            placer = scaled_by(view.interpolation, fixed_crop(view.short_side, view.crop_size))
            missing: set[int] = set()
            chunks = video.read_chunks(left, model.chunk_frames or CHUNK_FRAMES, placer, missing)
            with (
                evaluating(model),
                Progress(len(left), Path(video_path).name, "frame", enabled=show_progress) as progress,
                Prefetch(chunks) as ready,
            ):
                for frames in ready:
                    features = encode_chunk(model, frames, view.mean, view.std)
                    numbers = indices[file.count : file.count + len(frames)]
                    lost = torch.tensor([number in missing for number in numbers.tolist()])
                    _check_finite(features, numbers, lost, str(video_path))
                    features[lost] = torch.nan
                    file.append(features)
                    progress.update(len(frames))
                    if interrupt is not None and interrupt.requested():
                        kept = f"{file.count} of {len(indices)} frames are in {file.path}"
                        raise Interrupted(interrupt.signum, f"{kept}; the same again goes on from there")
            times = FrameTimes(video.times.seconds[indices], video.times.duration)
            found = file.features()
            return VideoFeatures(found, times, indices, _decoded(found, str(video_path)))


def encode_chunk(
    model: FrameModel, frames: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]
) -> Tensor:
    """Maps decoded frames (t, H, W, 3) uint8 to features (t, F)."""
    clip = torch.from_numpy(frames).to(device_of(model)).permute(3, 0, 1, 2)[None]  # (1, 3, t, H, W)
    return model.encode_frames(normalize(clip, mean, std))[0]


def _check_finite(features: Tensor, numbers: np.ndarray, lost: Tensor, name: str) -> None:
    """Raises ``NotFiniteError`` where a row (t, F) is not finite but for those that are ``lost`` (t,).

    On the disk NaN stands for frames that cannot be decoded; the backbone's own would be taken for these.
    """
    bad = (~features.isfinite().all(dim=1).cpu() & ~lost).nonzero().flatten()
    if len(bad):
        raise NotFiniteError(
            f"{name}: the backbone gives NaN or infinite features for frame {numbers[bad[0]]} and "
            f"{len(bad) - 1} others of {len(lost)}; look at its weights, or let it compute in a wider "
            "number type",
            [0],
        )


def _decoded(features: Tensor, name: str) -> Tensor | None:
    """Which rows (T,) are of frames that could be decoded, the others being NaN; None: all."""
    # In pieces, as the comparison's result for all rows need not be held.
    mask = torch.cat([~part[:, 0].isnan() for part in features.split(_MASK_ROWS)])
    lost = int((~mask).sum())
    if lost == len(mask):
        raise DecodeError(name, "corrupt", "no frame can be decoded")
    if lost == 0:
        return None
    first = int(mask.logical_not().nonzero()[0])
    logger.warning(
        "%s: %d of %d frames cannot be decoded, first number %d of those looked at; they are left out",
        *(name, lost, len(mask), first),
    )
    return mask
