"""The explanation of an open video whose features are computed.

T frames, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slowfast.interrupt import Interrupt
from slowfast.models.frame_encoder import FrameEncoder
from slowfast.progress import Progress
from slowfast.video.decoding import OpenVideo
from vtn.explaining.attribution import MAX_PASSES
from vtn.explaining.explain import (
    MAX_PREFIXES,
    choose_label,
    describe_model,
    measure_influence,
    score_prefixes,
)
from vtn.explaining.explanation import Explanation
from vtn.explaining.faithfulness import count_passes
from vtn.explaining.frame_scorer import FrameScorer
from vtn.explaining.pictures import chosen_rows, take_pictures
from vtn.explaining.regions.build import Regions, check_regions, find_regions
from vtn.inference.extract import FrameView
from vtn.inference.features import VideoFeatures
from vtn.inference.prediction import Prediction
from vtn.inference.windows import score_windows

_WINDOW_FRAMES, _WINDOWS_PER_VIDEO = 4, 10


@dataclass(frozen=True)
class ExplanationRequest:
    """The parts of an explanation.

    Attributes:
        label: name or number of the class to explain; None: the predicted one.
        window_seconds: length of the windows whose scores are shown; None: a tenth of the video, at least
            four frames.
        stride_seconds: from the start of a window to the start of the next; None: a quarter of its length.
        top_frames: number of frames that are shown as the ones that matter most.
        regions: show where in these frames, for backbones that can tell.
    """

    label: str | int | None = None
    window_seconds: float | None = None
    stride_seconds: float | None = None
    top_frames: int = 6
    regions: bool = True


def explain_video(
    video: OpenVideo,
    features: VideoFeatures,
    *,
    name: str,
    encoder: FrameEncoder,
    view: FrameView,
    head_act: str,
    class_names: list[str],
    request: ExplanationRequest = ExplanationRequest(),
    video_uri: str = "",
    show_progress: bool = False,
    interrupt: Interrupt | None = None,
) -> Explanation:
    """Explains a prediction.

    Args:
        video: open, for pictures of its frames.
        features: of the frames that the prediction is made from.
        name: of the video.
        encoder: has the model, and made the features.
        view: placement of the frames in the features.
        head_act: name of the score activation.
        class_names: K names.
        request: the parts of the explanation.
        video_uri: the video for the page; empty: only pictures.
        show_progress: show a progress bar, or log lines, with the remaining time.
        interrupt: checked after each batch of passes of the encoder.

    Raises:
        Interrupted: after a signal.
        InputError: for a video of one frame, an unknown class, and a missing package.
        DecodeError: for frames that can no longer be decoded.
    """
    if request.regions:
        check_regions(encoder.model)  # type: ignore[arg-type]
    scorer = FrameScorer.of_video(encoder.model, features, head_act=head_act)  # type: ignore[arg-type]
    scores = scorer.scores(scorer.decoded[None])[0]
    label = choose_label(scores, class_names, request.label)
    window, stride = _window_lengths(features, request)
    passes = estimate_passes(scorer.num_frames)
    with Progress(passes, "explained", "pass", enabled=show_progress) as progress:

        def count(done: int) -> None:
            progress.update(done)
            if interrupt is not None:
                interrupt.raise_if_requested()

        influence = measure_influence(scorer, label, on_batch=count)
        growing = score_prefixes(scorer, on_batch=count)
        timeline = score_windows(scorer.model, features, window, stride, head_act=head_act, on_batch=count)

    # Frames that speak for the class; of no use where a score does not depend on any.
    order = np.argsort(-influence.occlusion.evidence, kind="stable")
    top = order[influence.occlusion.evidence[order] > 0][: request.top_frames]
    numbers = features.indices if features.centres is None else features.centres
    rows = chosen_rows(scorer.num_frames, top)
    # Frames that cannot be decoded have no picture.
    pictures = take_pictures(video, numbers, rows[scorer.decoded[rows]], view.variant.placer)
    regions = Regions({}, "Regions were not asked for.")
    if request.regions and len(top):
        frames = video.read(numbers[np.sort(top)], view.variant.placer)[np.argsort(np.argsort(top))]
        regions = find_regions(encoder, scorer, frames, top, influence.slope)
    prediction = Prediction(
        name,
        features.duration,
        features.num_decoded,
        class_names,
        scores,
        timeline,
        len(features.features) - features.num_decoded,
    )
    return Explanation(
        prediction=prediction,
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
        video=video_uri,
        notes=describe_model(scorer, influence.occlusion),
    )


def estimate_passes(num_frames: int) -> int:
    """Returns about how many passes of the encoder an explanation of that many frames needs."""
    occlusion = min(num_frames, MAX_PASSES) + 1
    return occlusion + count_passes(num_frames, 4) + min(num_frames, MAX_PREFIXES) + 4 * _WINDOWS_PER_VIDEO


def _window_lengths(features: VideoFeatures, request: ExplanationRequest) -> tuple[float, float]:
    """Returns the length of windows and from one start to the next, in seconds."""
    spacing = features.duration / len(features.features)
    frames = max(_WINDOW_FRAMES, len(features.features) / _WINDOWS_PER_VIDEO)
    window = request.window_seconds or min(frames * spacing, features.duration)
    return window, request.stride_seconds or max(spacing, window / 4)
