"""The explanation of an open video whose features are computed.

T frames, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import cast

import numpy as np
from numpy.typing import NDArray

from slowfast.errors import InputError, check_positive
from slowfast.interrupt import Interrupt
from slowfast.models.frame_encoder import FrameEncoder
from slowfast.progress import Progress
from slowfast.video.decoding import OpenVideo
from vtn.explaining.attribution import MAX_PASSES
from vtn.explaining.explain import (
    MAX_PREFIXES,
    FrameInfluence,
    collect_notes,
    find_label,
    measure_influence,
    score_prefixes,
)
from vtn.explaining.explanation import Explanation, GrowingScores, MergedCrops
from vtn.explaining.faithfulness import count_passes
from vtn.explaining.frame_scorer import FrameScorer
from vtn.explaining.pictures import Pictures, chosen_rows, read_frames, take_pictures
from vtn.explaining.regions.build import Regions, find_regions
from vtn.frame_model import FrameModel
from vtn.inference.extract import FrameView
from vtn.inference.features import VideoFeatures
from vtn.inference.prediction import Prediction
from vtn.inference.windows import WINDOWS_PER_VIDEO, Timeline, choose_windows, score_windows


@dataclass(frozen=True)
class ExplanationRequest:
    """The parts of an explanation.

    Attributes:
        label: name or number of the class to explain; None: the predicted one, by all crops.
        window_seconds: length of the windows whose scores are shown; None: a tenth of the video, at least
            four frames.
        stride_seconds: from the start of a window to the start of the next; None: a quarter of its length.
        top_frames: number of frames that are shown as the ones that matter most.
        regions: show where in these frames, for backbones that can tell.

    Raises:
        InputError: for other numbers.
    """

    label: str | int | None = None
    window_seconds: float | None = None
    stride_seconds: float | None = None
    top_frames: int = 6
    regions: bool = True

    def __post_init__(self) -> None:
        check_positive(window_seconds=self.window_seconds, stride_seconds=self.stride_seconds)
        if not (isinstance(self.top_frames, Integral) and self.top_frames >= 0):
            raise InputError(f"top_frames = {self.top_frames!r}: must be 0 or more, as a whole number")


@dataclass(frozen=True)
class ExplainedModel:
    """A model with all that turns frames into scores.

    Attributes:
        encoder: has the model, and makes the features.
        view: placement of the frames in the features.
        head_act: name of the score activation.
        class_names: K names.
    """

    encoder: FrameEncoder
    view: FrameView
    head_act: str
    class_names: Sequence[str]


def explain_video(
    video: OpenVideo,
    features: VideoFeatures,
    model: ExplainedModel,
    request: ExplanationRequest,
    *,
    name: str,
    merged: MergedCrops | None = None,
    video_uri: str = "",
    show_progress: bool = False,
    interrupt: Interrupt | None = None,
) -> Explanation:
    """Explains a prediction.

    Args:
        video: open, for pictures of its frames.
        features: of the frames that the prediction is made from, in the middle crop.
        model: made the features.
        request: the parts of the explanation.
        name: of the video.
        merged: the prediction of all crops; None: it has one crop.
        video_uri: the video for the page; empty: only pictures.
        show_progress: show a progress bar, or log lines, with the remaining time.
        interrupt: checked after each batch of passes of the encoder.

    Raises:
        Interrupted: after a signal.
        InputError: for a video of one frame, and an unknown class.
        DecodeError: for frames that can no longer be decoded.
    """
    scorer = FrameScorer.of_video(cast(FrameModel, model.encoder.model), features, head_act=model.head_act)
    scores = scorer.scores(scorer.decoded[None])[0]
    label = find_label(model.class_names, request.label)
    if label is None:
        label = int((scores if merged is None else merged.scores).argmax())
    influence, growing, timeline = _measure(
        scorer, features, label, request, show_progress=show_progress, interrupt=interrupt
    )
    top = _top_frames(influence, request.top_frames)
    numbers = features.frame_numbers
    pictures, regions = _show_frames(video, numbers, scorer, model, influence, top, regions=request.regions)
    return Explanation(
        prediction=Prediction.of_features(features, name, list(model.class_names), scores, timeline=timeline),
        label=label,
        seconds=features.times.seconds,
        numbers=numbers,
        decoded=scorer.decoded,
        growing=growing,
        occlusion=influence.occlusion,
        gradient=influence.gradient,
        attention=influence.attention,
        faithfulness=influence.faithfulness,
        top=top,
        regions=regions,
        pictures=pictures,
        merged=merged,
        video=video_uri,
        notes=[
            *([] if merged is None else [merged.describe(model.class_names, label)]),
            *collect_notes(scorer, influence.occlusion),
        ],
    )


def _measure(
    scorer: FrameScorer,
    features: VideoFeatures,
    label: int,
    request: ExplanationRequest,
    *,
    show_progress: bool,
    interrupt: Interrupt | None,
) -> tuple[FrameInfluence, GrowingScores, Timeline]:
    """Returns the influence of the frames, and the scores of prefixes and windows of the video."""
    window, stride = choose_windows(features, request.window_seconds, request.stride_seconds)
    passes = _estimate_passes(scorer.num_frames)
    with Progress(passes, "explained", "pass", enabled=show_progress) as progress:

        def count(done: int) -> None:
            progress.update(done)
            if interrupt is not None:
                interrupt.raise_if_requested()

        counted = replace(scorer, on_batch=count)
        return (
            measure_influence(counted, label),
            score_prefixes(counted),
            score_windows(scorer.model, features, window, stride, head_act=scorer.head_act, on_batch=count),
        )


def _estimate_passes(num_frames: int) -> int:
    """Returns about how many passes of the encoder an explanation of that many frames needs."""
    occlusion = min(num_frames, MAX_PASSES) + 1
    return occlusion + count_passes(num_frames, 4) + min(num_frames, MAX_PREFIXES) + 4 * WINDOWS_PER_VIDEO


def _top_frames(influence: FrameInfluence, count: int) -> NDArray[np.int64]:
    """Returns the rows of the frames that speak most for the class, the first one most."""
    evidence = influence.occlusion.evidence
    order = np.argsort(-evidence, kind="stable")
    return order[evidence[order] > 0][:count]


def _show_frames(
    video: OpenVideo,
    numbers: NDArray[np.int64],
    scorer: FrameScorer,
    model: ExplainedModel,
    influence: FrameInfluence,
    top: NDArray[np.int64],
    *,
    regions: bool,
) -> tuple[Pictures, Regions]:
    """Returns pictures of frames for the page, and the regions of those that matter most.

    Args:
        numbers: (T,) int64, of the frames in the video.
        top: rows of the frames that matter most.
        regions: False leaves them out.
    """
    placer = model.view.variant.placer
    rows = chosen_rows(scorer.num_frames, top)
    # Frames that cannot be decoded have no picture.
    pictures = take_pictures(video, numbers, rows[scorer.decoded[rows]], placer)
    if not regions or len(top) == 0:
        return pictures, Regions({}, "" if regions else "Regions were not asked for.")
    frames = read_frames(video, numbers[top], placer)
    return pictures, find_regions(model.encoder, scorer, frames, top, influence.slope)
