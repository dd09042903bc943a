"""Logits of the clips of a batch, without those clips that the model rejects.

B clips of a batch, R of them with logits, K classes.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from slowfast.datasets.clip import Batch, Normalization
from slowfast.errors import NotFiniteError
from slowfast.models.adapter import require_logits
from slowfast.models.precision import Precision


class ClipLogits(NamedTuple):
    """The result of a model for a batch.

    Attributes:
        rows: of the batch, in order: the R clips with logits.
        logits: (R, K) float32, on the device of the batch; (0, 0) where the model rejects all clips.
        errors: by row of the batch, the error of each other clip.
    """

    rows: list[int]
    logits: Tensor
    errors: dict[int, NotFiniteError]


def compute_logits(
    model: Any, batch: Batch, *, normalization: Normalization, precision: Precision
) -> ClipLogits:
    """Runs a model on a batch; after an error that names clips, it runs again on the others.

    Args:
        model: a :class:`slowfast.models.capabilities.VideoModel`.
        batch: on the device of the model.
        normalization: of the frames.

    Raises:
        NotFiniteError: where the error of the model names no clip.
    """
    rows = list(range(batch.num_clips))
    errors: dict[int, NotFiniteError] = {}
    while rows:
        chosen = batch.map_tensors(itemgetter(rows)) if errors else batch
        try:
            with precision.autocast():
                frames = chosen.inputs(normalization)
                logits = require_logits(model(frames, chosen.positions, chosen.mask), frames, model)  # (R, K)
        except NotFiniteError as error:
            if not error.clips:
                raise
            rejected = {rows[clip]: error for clip in error.clips}
            errors.update(rejected)
            rows = [row for row in rows if row not in rejected]
        else:
            return ClipLogits(rows, logits.float(), errors)
    return ClipLogits([], torch.zeros(0, 0, device=batch.positions.device), errors)
