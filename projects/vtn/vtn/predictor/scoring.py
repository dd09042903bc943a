"""Scores of views as in the engine's test: batches of clips of any lengths, and long views chunk by chunk.

B views of a batch, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple

import numpy as np
import torch
from torch import Tensor

from slowfast.datasets.clip import Clip, StreamedClip
from slowfast.distributed.device import device_errors
from slowfast.engine.video_scores import finish_merge, merge_view
from slowfast.errors import DecodeError, InputError, NotFiniteError
from slowfast.models.frame_encoder import FrameEncoder
from slowfast.models.inference.clip_logits import compute_logits
from slowfast.models.inference.streamed_logits import classify_streamed_view
from slowfast.models.score_activations import SCORE_ACTIVATION_REGISTRY
from vtn.frame_model import FrameModel

FAILURES = (DecodeError, InputError, OSError, MemoryError)
"""Errors of one video, by which others are not affected."""

CRASHED = "killed its worker"
"""Reason of the ``DecodeError`` of a video whose decoder has ended."""

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


def attempt(work: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result | Exception:
    """Returns the result of ``work(*arguments)``, or the error of the video by which it fails.

    Work whose decoder ends is done again: a machine short of memory may end it at a sound video.
    """
    try:
        try:
            return work(*arguments)
        except DecodeError as error:
            if error.reason != CRASHED:
                raise
        return work(*arguments)
    except FAILURES as error:
        return error


ViewScores = np.ndarray | Exception
"""Scores (K,) float32 of a view, or the reason why it has none."""


@dataclass(frozen=True)
class ClipScorer:
    """A model with all that turns its logits into scores; used by any number of threads at a time.

    Attributes:
        model: in evaluation mode.
        encoder: of ``model``; has the normalisation, the device and the precision.
        head_act: name of the score activation.
    """

    model: FrameModel
    encoder: FrameEncoder
    head_act: str

    @torch.no_grad()
    def score(self, clips: Sequence[Clip | StreamedClip]) -> list[ViewScores]:
        """Returns the scores of views; those in memory are one batch per frame size, padded and masked.

        Raises:
            DeviceError: if the device fails or its memory is full.
        """
        scores: dict[int, ViewScores] = {}
        clips_of_size: dict[tuple[int, ...], dict[int, Clip]] = {}
        with device_errors(self.encoder.device, "a smaller batch_size (--batch-size)", "device cpu"):
            for row, clip in enumerate(clips):
                if isinstance(clip, Clip):
                    clips_of_size.setdefault(tuple(clip.frames.shape[2:]), {})[row] = clip
                else:
                    scores[row] = self._score_streamed(clip)
            for group in clips_of_size.values():
                scores.update(zip(group, self._score_batch([*group.values()]), strict=True))
        return [scores[row] for row in range(len(clips))]

    def _score_batch(self, clips: Sequence[Clip]) -> list[ViewScores]:
        """Scores clips in memory; those without a finite result have the error of the model."""
        encoder = self.encoder
        batch = Clip.collate(clips).to(encoder.device)
        found = compute_logits(
            self.model, batch, normalization=encoder.normalization, precision=encoder.precision
        )
        scores: dict[int, ViewScores] = {**found.errors}
        scores.update(zip(found.rows, self._activated(found.logits), strict=True))
        return [scores[row] for row in range(len(clips))]

    def _score_streamed(self, clip: StreamedClip) -> ViewScores:
        with self.encoder.precision.autocast():
            logits = attempt(classify_streamed_view, self.encoder, clip.view)  # (1, K)
        return logits if isinstance(logits, Exception) else self._activated(logits)[0]

    def _activated(self, logits: Tensor) -> list[ViewScores]:
        rows = SCORE_ACTIVATION_REGISTRY.get(self.head_act)(logits.float()).cpu().numpy()
        return [_checked(row) for row in rows]


def _checked(row: np.ndarray) -> ViewScores:
    if np.isfinite(row).all():
        return row
    return NotFiniteError("the model gives scores that are NaN or infinite; check its weights", [0])


def merge_views(views: Sequence[np.ndarray], method: str) -> np.ndarray:
    """Returns the scores (K,) float32 of a video from those of its views (K,), as the engine's test does.

    Args:
        method: ``max``, or ``sum`` for their mean.
    """
    merged = views[0].copy()
    for scores in views[1:]:
        merge_view(merged, scores, method)
    finish_merge(merged, len(views), method)
    return merged
