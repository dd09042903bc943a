"""Encoding of decoded frames to features: the one path from pixels through a model's frame encoder.

Feature caches, the prediction of single videos, streams and the evaluation of long videos all use it.
t frames of a chunk, H W pixels, n rows of features, F width of a feature. There is one row per frame, or per
time step for models that encode clips (:class:`slowfast.models.clip_grid.ClipGrid`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slowfast.datasets.clip import Normalization, normalize
from slowfast.datasets.loading.copy_stream import start_upload
from slowfast.datasets.loading.prefetch import Prefetch
from slowfast.errors import InputError
from slowfast.models.capabilities import FrameByFrameModel, clip_grid_of
from slowfast.models.clip_grid import ClipGrid
from slowfast.models.inference.compute_threads import ComputeThreads
from slowfast.models.precision import Precision

CHUNK_FRAMES = 64
"""Frames that are decoded and encoded together where the caller gives no other number."""

Frames: TypeAlias = NDArray[np.uint8] | Tensor
"""Frames (t, H, W, 3) uint8."""


@dataclass(frozen=True)
class FrameEncoder:
    """Maps frames to features: copies them to the device, normalises them and runs the model on them.

    May be used by several threads, which by default encode one after another.

    Attributes:
        model: in evaluation mode.
        normalization: of the frames.
        device: the device of the model.
        precision: the precision in which the model computes.
        channels: the order in which the model takes the channels of the RGB frames, ``RGB`` or ``BGR``.
        chunk_frames: frames per chunk; 0: ``CHUNK_FRAMES``.
        compute: how many threads encode at the same time.
    """

    model: FrameByFrameModel
    normalization: Normalization
    device: torch.device
    precision: Precision = field(default_factory=Precision)
    channels: str = "RGB"
    chunk_frames: int = 0
    compute: ComputeThreads = field(default_factory=ComputeThreads, repr=False, compare=False)

    @property
    def clip_grid(self) -> ClipGrid | None:
        """Clips and time steps of the model; None: it encodes single frames."""
        return clip_grid_of(self.model)

    @property
    def chunk_size(self) -> int:
        """Frames that callers should decode and encode together; whole clips for models that encode clips."""
        size = self.chunk_frames or CHUNK_FRAMES
        grid = self.clip_grid
        return size if grid is None else max(grid.hop, size // grid.hop * grid.hop)

    def encode(self, frames: Frames) -> Tensor:
        """Maps frames (t, H, W, 3) uint8 to features (n, F) on the device, in the dtype of the model.

        The frames are a sequence of their own: where the model encodes clips, these begin at the first frame.
        """
        upload = start_upload(as_tensor(frames), self.device)  # while another thread's chunk is computed
        # Not torch.inference_mode: tables that a backbone makes in its first pass and keeps could not be used
        # in a training afterwards.
        with self.compute.use(), torch.no_grad(), self.precision.autocast():
            clip = upload.result().permute(3, 0, 1, 2)[None]  # (t, H, W, 3) -> (1, 3, t, H, W)
            if self.channels == "BGR":
                clip = clip.flip(1)
            return self.model.encode_frames(normalize(clip, *self.normalization))[0]  # (n, F)

    def encode_chunks(self, chunks: Iterable[Frames], *, ahead: int = 0) -> Generator[Tensor, None, None]:
        """Yields the features (n, F) of a sequence of frames that comes in chunks (t, H, W, 3) uint8.

        Close the iterator (``contextlib.closing``) before what ``chunks`` reads from is closed.

        Args:
            ahead: chunks that a thread decodes while the model computes; 0: no thread.
        """
        sequence = SequenceEncoder(self)
        with Prefetch(chunks, depth=ahead) if ahead else nullcontext(chunks) as ready:
            for frames in ready:
                yield from sequence.push(frames)
        yield from sequence.finish()


class SequenceEncoder:
    """An encoding of one sequence of frames that comes in pieces of any length.

    The features do not depend on the pieces. A model that encodes single frames encodes each piece at once;
    for one that encodes clips, frames are kept until their clip is complete.

    Args:
        encoder: encodes the frames.
        first_clip: number of the clip that the first pushed frame begins, for a sequence whose earlier clips
            are encoded already.
    """

    def __init__(self, encoder: FrameEncoder, *, first_clip: int = 0) -> None:
        self._encoder = encoder
        self._grid = encoder.clip_grid
        self._is_first = first_clip == 0
        self._kept = torch.empty(0, device="cpu")

    @property
    def waiting(self) -> int:
        """Number of kept frames, whose clip is not encoded yet or which the next clip sees again."""
        return len(self._kept)

    def push(self, frames: Frames) -> Iterator[Tensor]:
        """Yields the features (n, F) that became complete with these frames (t, H, W, 3) uint8."""
        if self._grid is None:
            yield self._encoder.encode(frames)
            return
        frames = as_tensor(frames)
        if len(self._kept) and frames.shape[1:] != self._kept.shape[1:]:
            size, before = ("×".join(map(str, some.shape[1:3])) for some in (frames, self._kept))
            raise InputError(f"frames have {size} pixels: must be {before}, as the frames before")
        self._kept = torch.cat([self._kept, frames]) if len(self._kept) else frames
        # The last clip of a sequence contributes more steps than others if clips overlap. A clip is therefore
        # encoded when it is known not to be the last one.
        needed = self._grid.overlap + (1 if self._grid.overlap else 0)
        clips = (len(self._kept) - needed) // self._grid.hop
        if clips > 0:
            stop = clips * self._grid.hop
            features = self._encode(self._kept[: stop + self._grid.overlap])
            yield features[: len(features) - self._grid.overlap // self._grid.tubelet + self._grid.lead]
            self._kept = self._kept[stop:].clone()
            self._is_first = False

    def finish(self) -> Iterator[Tensor]:
        """Yields the features (n, F) of the frames that are left at the end of the sequence."""
        if len(self._kept):
            yield self._encode(self._kept)
            self._kept = self._kept[:0]

    def preview(self) -> Tensor | None:
        """Returns what :meth:`finish` would yield if the sequence ended here; None for no features."""
        return self._encode(self._kept) if len(self._kept) else None

    def _encode(self, frames: Tensor) -> Tensor:
        """Encodes frames from the start of a clip, without the steps that belong to the clip before."""
        assert self._grid is not None
        features = self._encoder.encode(frames)
        return features if self._is_first else features[self._grid.lead :]


def as_tensor(frames: Frames) -> Tensor:
    """Returns frames (t, H, W, 3) uint8, or features, as a tensor; memory is shared where torch can do so.

    Raises:
        InputError: for what is not an array of numbers.
    """
    if isinstance(frames, Tensor):
        return frames
    try:
        return torch.from_numpy(np.ascontiguousarray(frames))  # torch does not accept negative strides
    except (TypeError, ValueError) as error:
        raise InputError(
            f"frames of type {type(frames).__name__}: must be an array or tensor of numbers"
        ) from error
