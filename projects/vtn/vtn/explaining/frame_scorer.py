"""Scores of a video with some of its frames masked: only what comes after the backbone is computed again.

S sets of kept frames, T frames, M tokens of a frame, F width of a feature, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slowfast.errors import InputError
from slowfast.models.score_activations import SCORE_ACTIVATION_REGISTRY
from vtn.frame_model import FrameModel
from vtn.inference.features import VideoFeatures
from vtn.inference.windows import BATCH_FRAMES, device_of

MIN_FRAMES = 2
"""Frames that a video needs, so that one of them can be left out."""


@dataclass(frozen=True)
class FrameScorer:
    """A model and the features of one video, scored for any choice of its frames.

    A frame that is not kept is masked: it keeps its place, and no other frame and no result depends on it.

    Attributes:
        model: in evaluation mode.
        features: (1, T, F) or (1, T, M, F) on the device of the model; 0 where a frame could not be decoded.
        positions: (1, T) int64.
        decoded: (T,) bool, False for frames that could not be decoded, which are never kept.
        head_act: name of the score activation.
        on_batch: called after each batch of passes of the encoder with their number.
    """

    model: FrameModel
    features: Tensor
    positions: Tensor
    decoded: NDArray[np.bool_]
    head_act: str
    on_batch: Callable[[int], object] = lambda passes: None

    @classmethod
    def of_video(cls, model: FrameModel, video: VideoFeatures, *, head_act: str = "softmax") -> Self:
        """Returns the scorer of a video.

        Raises:
            InputError: for a video of a single frame, which has no other frame to compare it with.
        """
        if video.num_decoded < MIN_FRAMES:
            raise InputError(
                f"the video has {video.num_decoded} frame: an explanation needs {MIN_FRAMES} or more; choose "
                "more frames per second, or a longer video"
            )
        mask = video.decoded
        lost = ~mask.reshape(-1, *(1 for _ in video.features.shape[1:]))
        device = device_of(model)
        return cls(
            model,
            video.features.float().masked_fill(lost, 0)[None].to(device),
            video.positions(model.position_rate)[None].to(device),
            mask.numpy(),
            head_act,
        )

    @property
    def num_frames(self) -> int:
        """T."""
        return self.features.shape[1]

    @property
    def mask(self) -> Tensor | None:
        """(1, T) bool, True where a frame was decoded; None: all were."""
        if self.decoded.all():
            return None
        return torch.from_numpy(self.decoded)[None].to(self.features.device)

    @torch.no_grad()
    def logits(self, kept: NDArray[np.bool_]) -> Tensor:
        """Returns the logits (S, K) on the CPU with the kept frames (S, T) bool; each row has one or more."""
        rows = torch.from_numpy(kept & self.decoded)
        tokens = self.features[..., 0].numel()  # T, or T · M
        size = max(1, BATCH_FRAMES // tokens)
        found = []
        for part in rows.split(size):
            count = len(part)
            mask = None if bool(part.all()) else part.to(self.features.device)
            features = self.features.expand(count, *self.features.shape[1:])
            logits = self.model.classify(features, self.positions.expand(count, -1), mask)
            found.append(logits.float().cpu())
            self.on_batch(count)
        return torch.cat(found)

    def scores(self, kept: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Returns the class scores (S, K) of :meth:`logits`."""
        return self.activate(self.logits(kept)).numpy()

    def activate(self, logits: Tensor) -> Tensor:
        """Returns the class scores (S, K) of logits."""
        return SCORE_ACTIVATION_REGISTRY.get(self.head_act)(logits)

    def evidence(self, logits: Tensor, label: int) -> Tensor:
        """Returns the log-odds (S,) of a class, ``log p / (1 − p)``, which do not saturate near 0 and 1.

        With softmax they are the logit minus the log-sum-exp of the other logits, with sigmoid the logit; for
        other score activations, whose scores are not probabilities, the logit is returned, too.
        """
        if self.head_act != "softmax" or logits.shape[1] == 1:
            return logits[:, label]
        others = torch.ones(logits.shape[1], dtype=torch.bool, device=logits.device)
        others[label] = False
        return logits[:, label] - logits[:, others].logsumexp(1)
