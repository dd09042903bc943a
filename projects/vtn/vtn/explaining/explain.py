"""The computation of an explanation from the features of a video.

T frames, W windows, G prefixes, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from slowfast.datasets.views.sampling import evenly_spaced
from slowfast.errors import InputError
from vtn.attentive_probe import AttentiveProbe
from vtn.explaining.attribution import Occlusion, feature_gradient, gradient_times_input, occlude
from vtn.explaining.explanation import Attention, GrowingScores, rankings
from vtn.explaining.faithfulness import Faithfulness, measure_faithfulness
from vtn.explaining.frame_scorer import FrameScorer
from vtn.model import VTN

MAX_PREFIXES = 64


@dataclass(frozen=True)
class FrameInfluence:
    """The influence of the frames of one video on the score of one class.

    Attributes:
        occlusion, gradient, attention, faithfulness: see :class:`vtn.explaining.explanation.Explanation`.
        slope: gradient of the log-odds of the class with respect to the features, (T, F) or (T, M, F).
    """

    occlusion: Occlusion
    gradient: NDArray[np.float32]
    attention: Attention | None
    faithfulness: dict[str, Faithfulness]
    slope: torch.Tensor


def measure_influence(scorer: FrameScorer, label: int) -> FrameInfluence:
    """Measures the influence of each frame, and how far the rankings of frames are faithful.

    Args:
        label: the class, 0 … K − 1.
    """
    occlusion = occlude(scorer, label)
    slope = feature_gradient(scorer, label)
    gradient = gradient_times_input(scorer, slope)
    attention = read_attention(scorer)
    faithfulness = measure_faithfulness(scorer, label, rankings(occlusion, gradient, attention))
    return FrameInfluence(occlusion, gradient, attention, faithfulness, slope)


@torch.no_grad()
def read_attention(scorer: FrameScorer) -> Attention | None:
    """Returns the attention of [CLS] to the frames, as the model computes it; None for models without it."""
    model = scorer.model
    if not isinstance(model, VTN):
        return None
    arguments = scorer.features, scorer.positions, scorer.mask
    layers = model.frame_attention(*arguments)[:, 0].float()  # (L, N, T) or (L, N, T, M)
    if layers.ndim == 4:
        layers = layers.sum(-1)
    rollout = model.attention_rollout(*arguments)[0].float()
    return Attention(layers.cpu().numpy(), rollout.cpu().numpy())


def score_prefixes(scorer: FrameScorer) -> GrowingScores:
    """Scores the video up to each of at most ``MAX_PREFIXES`` frames, as if it ended there."""
    frames = np.flatnonzero(scorer.decoded)
    rows = frames[evenly_spaced(len(frames), MAX_PREFIXES)]
    kept = (np.arange(scorer.num_frames) <= rows[:, None]) & scorer.decoded
    return GrowingScores(rows, scorer.scores(kept))


def find_label(class_names: Sequence[str], wanted: str | int | None) -> int | None:
    """Returns the number of a class by its name or number; None where ``wanted`` is None.

    Raises:
        InputError: for a class that does not exist.
    """
    if wanted is None:
        return None
    if isinstance(wanted, str) and wanted in class_names:
        return list(class_names).index(wanted)
    try:
        label = int(wanted)
    except (TypeError, ValueError):
        label = -1
    if not 0 <= label < len(class_names):
        some = ", ".join(class_names[:8]) + (", …" if len(class_names) > 8 else "")
        raise InputError(
            f"class {wanted!r}: must be a name of a class ({some}) or its number, 0 to {len(class_names) - 1}"
        )
    return label


def collect_notes(scorer: FrameScorer, occlusion: Occlusion) -> list[str]:
    """Returns remarks on the model that a reader of the explanation needs."""
    model = scorer.model
    notes = []
    if isinstance(model, VTN):
        if model.temporal_encoder.pooling != "cls":
            notes.append(
                "The classifier also reads mean and deviation of the frames' states; attention of [CLS] does "
                "not show this part."
            )
        if model.statistics_skip is not None:
            notes.append(
                "The scores have a part that skips the encoder (statistics of the features); attention does "
                "not show it, occlusion and gradient do."
            )
    else:
        kind = "has no [CLS] token" if not isinstance(model, AttentiveProbe) else "pools by a learned query"
        notes.append(f"{type(model).__name__} {kind}: the explanation consists of occlusion and gradient.")
    if model.clip_grid is not None:
        notes.append(
            "The backbone encodes clips: each entry is a time step of several frames, and masking a step "
            "does not remove its frames from the features of neighbouring steps."
        )
    if occlusion.span > 1:
        notes.append(f"The video is long: {occlusion.span} frames are occluded together.")
    if lost := int((~scorer.decoded).sum()):
        notes.append(f"{lost} frames cannot be decoded and are left out.")
    return notes
