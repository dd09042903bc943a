"""Views of any length through a model that looks frame by frame: pixels of a few chunks at a time.

T frames of a view, t of a chunk, F width of a feature, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from slowfast.datasets.clip import normalize
from slowfast.datasets.loading.prefetch import Prefetch
from slowfast.datasets.views.streamed_view import StreamedView

CHUNK_FRAMES = 64
"""Frames that are decoded, normalised and handed to the model together; at most three chunks are held."""


def classify_long_view(
    model: Any,
    view: StreamedView,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    on_chunk: Callable[[], object] = lambda: None,
) -> Tensor:
    """Returns the logits (1, K) that the model has for all frames of a view at once.

    A thread decodes while the model computes.

    Args:
        model: a :class:`slowfast.models.build.FrameByFrameModel` in evaluation mode.
        mean, std: normalisation of the frames, per channel.
        device: the model's.
        on_chunk: called between two chunks; what it raises ends the work.

    Raises:
        DecodeError: where the video cannot be decoded.
    """
    features = torch.empty(0)
    done = 0
    with Prefetch(view.chunks(CHUNK_FRAMES), depth=1) as chunks:
        for frames in chunks:
            pixels = normalize(frames[None].to(device), tuple(mean), tuple(std))  # (1, 3, t, H, W)
            part = model.encode_frames(pixels)[0]  # (t, F)
            if done == 0:
                features = part.new_empty(len(view.indices), part.shape[1])
            features[done : done + len(part)] = part
            done += len(part)
            on_chunk()
    if view.order is not None:
        features = features[view.order.to(device)]
    return model.classify(features[None], view.positions[None].to(device))
