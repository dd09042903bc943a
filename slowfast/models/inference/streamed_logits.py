"""Classification of views of any length by a frame-by-frame model, with the pixels of a few chunks in memory.

T frames of a view, t of a chunk, R rows of features, F width of a feature, K classes. There is one row per
frame, or per time step for models that encode clips.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import torch
from torch import Tensor

from slowfast.datasets.views.streamed_view import StreamedView
from slowfast.errors import ConfigError
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
        ConfigError: for shuffled frames with a model that encodes clips.
    """
    grid = encoder.clip_grid
    if grid is not None and view.order is not None:
        raise ConfigError(
            "TEST.SHUFFLE_FRAMES = True: the frames of a streamed view cannot be shuffled for a model that "
            f"encodes clips; set TRAIN.EVAL_STREAM_FRAMES 0, or above {len(view.indices)}"
        )
    count = len(view.indices) if grid is None else grid.num_steps(len(view.indices))
    features = torch.empty(0)
    done = 0
    chunks = (frames.permute(1, 2, 3, 0) for frames in view.chunks(encoder.chunk_size))  # (t, H, W, 3)
    with closing(encoder.encode_chunks(chunks, ahead=1)) as encoded:
        for rows in encoded:  # (n, F) or (n, M, F)
            if done == 0:
                features = rows.new_empty(count, *rows.shape[1:])
            features[done : done + len(rows)] = rows
            done += len(rows)
            on_chunk()
    if view.order is not None:
        features = features[view.order.to(encoder.device)]
    positions = view.positions[None]
    if grid is not None:
        positions = grid.step_positions(positions, None, len(view.indices))
    return encoder.model.classify(features[None], positions.to(encoder.device))
