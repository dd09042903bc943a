"""Classification of views of any length by a frame-by-frame model, with the pixels of a few chunks in memory.

T frames of a view, t of a chunk, F width of a feature, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import torch
from torch import Tensor

from slowfast.datasets.views.streamed_view import StreamedView
from slowfast.models.frame_encoder import FrameEncoder


def classify_streamed_view(
    encoder: FrameEncoder, view: StreamedView, *, on_chunk: Callable[[], object] = lambda: None
) -> Tensor:
    """Returns the logits (1, K) that the model gives for all T frames of a view at once.

    A thread decodes one chunk ahead, so that at most three chunks are in memory.

    Args:
        encoder: with the model that encodes and classifies.
        on_chunk: called after each chunk; an exception that it raises ends the work.

    Raises:
        DecodeError: where the video cannot be decoded.
    """
    features = torch.empty(0)
    done = 0
    chunks = (frames.permute(1, 2, 3, 0) for frames in view.chunks(encoder.chunk_size))  # (t, H, W, 3)
    with closing(encoder.encode_chunks(chunks, ahead=1)) as encoded:
        for rows in encoded:  # (t, F) or (t, M, F)
            if done == 0:
                features = rows.new_empty(len(view.indices), *rows.shape[1:])
            features[done : done + len(rows)] = rows
            done += len(rows)
            on_chunk()
    if view.order is not None:
        features = features[view.order.to(encoder.device)]
    return encoder.model.classify(features[None], view.positions[None].to(encoder.device))
