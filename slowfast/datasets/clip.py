"""The typed values that pass from the data layer to the model.

B clips, T frames, H W pixels, K classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor

from slowfast.datasets.loading.copy_stream import copy_batch_tensor
from slowfast.distributed.device import upload
from slowfast.errors import DataError

if TYPE_CHECKING:
    from slowfast.datasets.views.streamed_view import StreamedView


class Normalization(NamedTuple):
    """Mean and standard deviation of frames per channel, of pixels scaled to 0 … 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class BrokenVideo:
    """A video that could not be used.

    Attributes:
        video_id: row in the annotation file.
        path: of the file, with ``DATA.PATH_PREFIX`` in front.
        reason: short class of the fault, see ``DecodeError.reason``.
        detail: the decoder's message.
    """

    video_id: int
    path: str
    reason: str
    detail: str = ""

    def describe(self) -> str:
        """Returns one line about the video."""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.path or f'video {self.video_id}'}: {self.reason}{detail}"


@dataclass(frozen=True)
class Clip:
    """One view of one video.

    Attributes:
        frames: (3, T, H, W) uint8, RGB; under ``DATA.ORIGINAL_SEMANTICS`` float32 in 0 … 255.
        positions: (T,) int64, frame index in the source video, or seconds × the model's position rate.
        label: class index, or (K,) float32 for multi-label.
        video_id: row in the annotation file.
        view_id: temporal view × crops + crop.
        broken: broken videos for which this one was substituted (training only).
    """

    frames: Tensor
    positions: Tensor
    label: int | Tensor
    video_id: int
    view_id: int = 0
    broken: tuple[BrokenVideo, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, H, W)."""
        return tuple(self.frames.shape[1:])

    def reordered(self, order: Tensor) -> Clip:
        """Returns the clip with frame ``order[i]`` at index i; the positions keep their order."""
        return replace(self, frames=self.frames[:, order])

    @staticmethod
    def collate(clips: Sequence[Clip]) -> ClipBatch:
        """Returns a batch; shorter clips are padded with zeros and masked.

        The memory of the frames is laid out (B, T, H, W, 3), as decoded: networks use it as channels-last.

        Raises:
            DataError: where the frames of two clips differ in height, width or dtype.
        """
        lengths = [clip.frames.shape[1] for clip in clips]
        longest = max(lengths, default=0)
        height, width = clips[0].frames.shape[2:] if clips else (0, 0)
        if other := [clip for clip in clips if clip.frames.shape[2:] != (height, width)]:
            raise DataError(
                f"frames of a batch must have one size, but those of video {clips[0].video_id} have "
                f"{height} × {width} pixels and those of video {other[0].video_id} have "
                f"{other[0].frames.shape[2]} × {other[0].frames.shape[3]}; return crops of one size"
            )
        dtype = clips[0].frames.dtype if clips else torch.uint8
        if other := [clip for clip in clips if clip.frames.dtype != dtype]:
            raise DataError(
                f"frames of a batch must have one dtype, but those of video {clips[0].video_id} are {dtype} "
                f"and those of video {other[0].video_id} {other[0].frames.dtype}; return all as uint8"
            )
        frames = torch.empty(len(clips), longest, height, width, 3, dtype=dtype, device="cpu")
        for i, (clip, length) in enumerate(zip(clips, lengths, strict=True)):
            frames[i, :length] = clip.frames.permute(1, 2, 3, 0)
            frames[i, length:] = 0
        return ClipBatch(
            frames=frames.permute(0, 4, 1, 2, 3),  # (B, 3, T, H, W)
            **collate_common(clips, lengths),
        )


@dataclass(frozen=True)
class StreamedClip:
    """One view of one video in evaluation whose frames are decoded chunk by chunk while the model runs.

    Attributes:
        view: yields the frames in chunks; has their positions.
        label, video_id, view_id: see :class:`Clip`.
    """

    view: StreamedView
    label: int | Tensor
    video_id: int
    view_id: int


class ReadClip(Protocol):
    """A view that has been read: frames (:class:`Clip`), or values computed from them such as features."""

    @property
    def broken(self) -> tuple[BrokenVideo, ...]: ...

    @property
    def shape(self) -> tuple[int, ...]:
        """T, then the size of the frames; of features, which have one size, T alone."""
        ...

    def reordered(self, order: Tensor) -> Self:
        """Returns the clip with its frames in another order; the positions keep theirs."""
        ...

    @staticmethod
    def collate(clips: Any) -> Batch:
        """Returns a batch of clips of this type."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """A collated batch of B clips, of frames (:class:`ClipBatch`) or of features.

    Attributes:
        positions: (B, T) int64; 0 where padded.
        mask: (B, T) bool, True where a frame is real; None when all are.
        label: (B,) int64, or (B, K) float32.
        video_id: (B,) int64.
        view_id: (B,) int64.
        broken: videos found unusable while this batch was built.
        streamed: views of the batch that are not in ``frames``; the model reads them chunk by chunk.
        is_continued: whether the next batch belongs to the same step of the loader; its clips have another
            shape.
    """

    positions: Tensor
    mask: Tensor | None
    label: Tensor
    video_id: Tensor
    view_id: Tensor
    broken: tuple[BrokenVideo, ...] = ()
    streamed: tuple[StreamedClip, ...] = ()
    is_continued: bool = False

    @property
    def num_clips(self) -> int:
        """B, the number of clips whose frames or features are in the batch."""
        return self.positions.shape[0]

    @abstractmethod
    def inputs(self, normalization: Normalization) -> Tensor:
        """Returns the input of a model, B rows: normalised frames, or features as they are."""

    def map_tensors(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Returns the batch with each of its tensors changed."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        changed = {name: change(tensor) for name, tensor in tensors.items()}
        return replace(self, **changed)

    def to(self, device: torch.device) -> Self:
        """Returns the batch with its tensors on ``device``; see :func:`copy_batch_tensor`."""
        return self.map_tensors(lambda tensor: copy_batch_tensor(tensor, device))

    def pin_memory(self) -> Self:
        """Returns the batch with its tensors in memory from which a GPU copies without blocking."""
        return self.map_tensors(Tensor.pin_memory)


@dataclass(frozen=True, eq=False)
class ClipBatch(Batch):
    """A collated batch of frames.

    Attributes:
        frames: (B, 3, T, H, W) uint8 (see :class:`Clip`), laid out in memory as (B, T, H, W, 3).
    """

    frames: Tensor

    def inputs(self, normalization: Normalization) -> Tensor:
        """Returns normalised frames (B, 3, T, H, W) float32."""
        return normalize(self.frames, *normalization)


def collate_common(clips: Sequence[Any], lengths: Sequence[int]) -> dict[str, Any]:
    """Returns the fields that the batches of all kinds of clips have, by name.

    They are ``positions``, ``mask``, ``label``, ``video_id`` and ``view_id``, see :class:`Batch`.

    Positions and lengths are checked here: on a GPU a model would have to wait for the answer.

    Args:
        lengths: number of frames of each clip.

    Raises:
        DataError: for a clip without frames, and for a negative position.
    """
    for clip, length in zip(clips, lengths, strict=True):
        if length == 0:
            raise DataError(f"video {clip.video_id}: a clip has no frames; give at least one per clip")
        if (first := int(clip.positions.min())) < 0:
            raise DataError(
                f"video {clip.video_id}: a frame has position {first}, must be 0 or more, where 0 is the "
                "first frame of the video"
            )
    host = torch.device("cpu")  # whatever torch.set_default_device says in the program
    longest = max(lengths, default=0)
    positions = torch.zeros(len(clips), longest, dtype=torch.int64, device=host)
    for i, (clip, length) in enumerate(zip(clips, lengths, strict=True)):
        positions[i, :length] = clip.positions
    mask = None
    if min(lengths, default=0) < longest:
        mask = torch.arange(longest, device=host) < torch.tensor(lengths, device=host)[:, None]  # (B, T)
    labels = [torch.as_tensor(clip.label, device=host) for clip in clips]
    return {
        "positions": positions,
        "mask": mask,
        "label": torch.stack(labels) if labels else torch.zeros(0, dtype=torch.int64, device=host),
        "video_id": torch.tensor([clip.video_id for clip in clips], dtype=torch.int64, device=host),
        "view_id": torch.tensor([clip.view_id for clip in clips], dtype=torch.int64, device=host),
    }


def normalize(frames: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Returns ``(frames / 255 - mean) / std`` float32 of frames (B, 3, T, H, W) uint8, on their device."""
    scale = [1.0 / (255.0 * s) for s in std]
    shift = [-m / s for m, s in zip(mean, std, strict=True)]
    table = upload(torch.tensor([scale, shift], device="cpu"), frames.device)  # (2, 3)
    weight, bias = table.view(2, 1, -1, 1, 1, 1)
    values = frames.to(torch.float32, copy=True)
    # Into the copy: on the CPU, a second tensor of that size costs half of the time.
    return torch.addcmul(bias, values, weight, out=values)
