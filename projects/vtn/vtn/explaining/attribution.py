"""Influence of single frames on the score of a class: by occlusion, which is exact, and by gradient.

T frames, K classes, F width of a feature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vtn.explaining.frame_scorer import FrameScorer

MAX_PASSES = 256
"""Passes of the encoder for an occlusion; a longer video is occluded in spans of several frames."""


@dataclass(frozen=True, eq=False)
class Occlusion:
    """The effect of masking frames.

    Attributes:
        evidence: (T,) float32, the fall of the log-odds of the class when a frame is masked; negative where
            the class gains. 0 for frames that could not be decoded.
        score: (T,) float32, the fall of the score itself.
        span: number of frames that are masked together; 1: each frame alone.
    """

    evidence: NDArray[np.float32]
    score: NDArray[np.float32]
    span: int


def occlude(scorer: FrameScorer, label: int) -> Occlusion:
    """Masks each frame, or each span of frames, in turn and scores the video again.

    The features of the other frames are kept: they do not depend on the masked frame. For clip encoders an
    entry is a time step, whose features may also come from its neighbours.

    Args:
        label: the class, 0 … K − 1.
    """
    frames = np.flatnonzero(scorer.decoded)
    span = -(-len(frames) // MAX_PASSES)
    spans = np.array_split(frames, -(-len(frames) // span))
    kept = np.repeat(scorer.decoded[None], 1 + len(spans), axis=0)
    for row, masked in enumerate(spans, start=1):
        kept[row, masked] = False
    logits = scorer.logits(kept)
    evidence = scorer.evidence(logits, label).numpy()
    scores = scorer.activate(logits)[:, label].numpy()
    falls = np.zeros((2, scorer.num_frames), np.float32)
    for row, masked in enumerate(spans, start=1):
        falls[0, masked] = evidence[0] - evidence[row]
        falls[1, masked] = scores[0] - scores[row]
    return Occlusion(falls[0], falls[1], span)


def feature_gradient(scorer: FrameScorer, label: int) -> Tensor:
    """Returns the gradient of the class's log-odds with respect to the features, (T, F) or (T, M, F)."""
    features = scorer.features.clone().requires_grad_()
    with torch.enable_grad():
        logits = scorer.model.classify(features, scorer.positions, scorer.mask)
        (gradient,) = torch.autograd.grad(scorer.evidence(logits.float(), label)[0], features)
    return gradient[0]


def gradient_times_input(scorer: FrameScorer, gradient: Tensor) -> NDArray[np.float32]:
    """Returns the product of gradient and features, summed per frame (Shrikumar et al. 2016), (T,) float32.

    To first order it is the fall of the log-odds when the features of a frame become 0.

    Args:
        gradient: see :func:`feature_gradient`.
    """
    return (gradient * scorer.features[0]).flatten(1).sum(1).float().cpu().numpy()
