"""Encoding of decoded frames to features: the one path from pixels through a model's frame encoder.

Feature caches, the prediction of single videos, streams and the evaluation of long videos all use it.
t frames of a chunk, H W pixels, F width of a feature.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slowfast.datasets.clip import normalize
from slowfast.datasets.loading.prefetch import Prefetch
from slowfast.models.capabilities import FrameByFrameModel
from slowfast.models.precision import Precision

CHUNK_FRAMES = 64
"""Frames that are decoded and encoded together where the caller gives no other number."""

Frames: TypeAlias = NDArray[np.uint8] | Tensor
"""Frames (t, H, W, 3) uint8."""


@dataclass(frozen=True)
class FrameEncoder:
    """Maps frames to features: copies them to the device, normalises them and runs the model on them.

    May be used by several threads, which then encode one after another.

    Attributes:
        model: in evaluation mode.
        mean, std: normalisation per channel, of pixels scaled to 0 … 1.
        device: the device of the model.
        precision: the precision in which the model computes.
        channels: the order in which the model takes the channels of the RGB frames, ``RGB`` or ``BGR``.
        chunk_frames: frames per chunk; 0: ``CHUNK_FRAMES``.
    """

    model: FrameByFrameModel
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device
    precision: Precision = field(default_factory=Precision)
    channels: str = "RGB"
    chunk_frames: int = 0
    _computing: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def chunk_size(self) -> int:
        """Frames that callers should decode and encode together."""
        return self.chunk_frames or CHUNK_FRAMES

    def encode(self, frames: Frames) -> Tensor:
        """Maps frames (t, H, W, 3) uint8 to features (t, F) on the device, in the dtype of the model."""
        if isinstance(frames, np.ndarray):
            frames = torch.from_numpy(np.ascontiguousarray(frames))  # torch does not accept negative strides
        clip = frames.to(self.device).permute(3, 0, 1, 2)[None]  # (t, H, W, 3) -> (1, 3, t, H, W)
        if self.channels == "BGR":
            clip = clip.flip(1)
        with self._computing, torch.no_grad(), self.precision.autocast():
            return self.model.encode_frames(normalize(clip, self.mean, self.std))[0]  # (t, F)

    def encode_chunks(self, chunks: Iterable[Frames], *, ahead: int = 0) -> Generator[Tensor, None, None]:
        """Yields the features (t, F) of each chunk of frames (t, H, W, 3) uint8.

        Close the iterator (``contextlib.closing``) before what ``chunks`` reads from is closed.

        Args:
            ahead: chunks that a thread decodes while the model computes; 0: no thread.
        """
        with Prefetch(chunks, depth=ahead) if ahead else nullcontext(chunks) as ready:
            for frames in ready:
                yield self.encode(frames)
