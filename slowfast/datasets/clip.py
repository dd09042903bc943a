"""The typed values that pass from the data layer to the model.

B clips, T frames, H W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from slowfast.datasets.long_view import LongView

# A named tuple, some of whose entries are tensors with one row a clip.
Batch = TypeVar("Batch", bound=Any)


class SampleRef(NamedTuple):
    """What a sampler hands to a data set: everything random in a sample is a function of it and the seed."""

    epoch: int
    index: int  # type: ignore[assignment]


@dataclass(frozen=True)
class BrokenVideo:
    """A video that could not be used.

    Attributes:
        video_id: row in the annotation file.
        path: as resolved.
        reason: short class, see ``DecodeError.reason``.
        detail: what the decoder said.
    """

    video_id: int
    path: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Clip:
    """One view of one video.

    Attributes:
        frames: (3, T, H, W) uint8, RGB; under ``DATA.ORIGINAL_SEMANTICS`` float32 in 0 … 255.
        positions: (T,) int64, frame index in the source video, or seconds × the model's position rate.
        label: class index, or (K,) float32 for multi-label.
        video_id: row in the annotation file.
        view_id: temporal view × crops + crop.
        broken: videos that were tried before this one took their place (training only).
    """

    frames: Tensor
    positions: Tensor
    label: int | Tensor
    video_id: int
    view_id: int = 0
    broken: tuple[BrokenVideo, ...] = ()


@dataclass(frozen=True)
class LongClip:
    """One view of one video in evaluation, of too many frames to be decoded before they are looked at.

    Attributes:
        view: gives the frames in chunks, and their positions.
        label, video_id, view_id: as those of :class:`Clip`.
    """

    view: LongView
    label: int | Tensor
    video_id: int
    view_id: int


class ClipBatch(NamedTuple):
    """A collated batch. A NamedTuple, so that the loader can pin it.

    Attributes:
        frames: (B, 3, T, H, W) uint8 (see :class:`Clip`), laid out in memory as (B, T, H, W, 3).
        positions: (B, T) int64; 0 where padded.
        mask: (B, T) bool, True where a frame is real; None when all are.
        label: (B,) int64, or (B, K) float32.
        video_id: (B,) int64.
        view_id: (B,) int64.
        broken: videos found unusable while this batch was made.
        long: views of the batch that are not in ``frames``; the model takes them chunk by chunk.
    """

    frames: Tensor
    positions: Tensor
    mask: Tensor | None
    label: Tensor
    video_id: Tensor
    view_id: Tensor
    broken: tuple[BrokenVideo, ...] = ()
    long: tuple[LongClip, ...] = ()

    @property
    def num_clips(self) -> int:
        """B."""
        return self.frames.shape[0]

    def inputs(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
        """What a model is given: normalised frames (B, 3, T, H, W) float32."""
        return normalize(self.frames, mean, std)

    def to(self, device: torch.device) -> ClipBatch:
        """Returns the batch with its tensors on ``device`` (copied without blocking)."""
        return map_tensors(self, lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> ClipBatch:
        """Returns the batch with its tensors in memory from which a GPU copies without blocking."""
        return map_tensors(self, Tensor.pin_memory)


def map_tensors(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """Returns a batch with each of its tensors changed."""
    changed = {name: change(part) for name, part in batch._asdict().items() if isinstance(part, Tensor)}
    return batch._replace(**changed)


def normalize(frames: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Turns uint8 frames (B, 3, T, H, W) into float32 ``(frames / 255 - mean) / std`` on their device."""
    scale = [1.0 / (255.0 * s) for s in std]
    shift = [-m / s for m, s in zip(mean, std, strict=True)]
    shape = (1, -1, 1, 1, 1)
    weight = torch.tensor(scale, device=frames.device).view(shape)
    bias = torch.tensor(shift, device=frames.device).view(shape)
    return torch.addcmul(bias, frames.to(torch.float32), weight)
