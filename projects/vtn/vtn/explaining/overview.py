"""A prediction over time with the frames that the model attends to, from one pass over the video.

T frames, W windows, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slowfast.datasets.views.sampling import evenly_spaced
from slowfast.video.decoding import OpenVideo
from slowfast.video.placement import full_frame
from vtn.explaining.explain import read_attention
from vtn.explaining.frame_scorer import MIN_FRAMES, FrameScorer
from vtn.explaining.pictures import encode_picture, read_frames
from vtn.frame_model import FrameModel
from vtn.inference.features import VideoFeatures
from vtn.inference.prediction import Prediction
from vtn.inference.windows import choose_windows, score_windows

SHOWN_FRAMES = 6
_PICTURE_SIDE = 240


@dataclass(frozen=True, eq=False)
class Overview:
    """A prediction, its course over time, and frames to look at.

    Attributes:
        prediction: scores of the whole video, and those of its windows in the middle crop.
        seconds: (T,) float64, the time of each frame that was scored.
        attention: (T,) float32 of [CLS] in the middle crop, rolled out over the layers; None for models
            without it, and for videos of one frame.
        shown: rows of the frames with pictures: those with the highest attention, the highest first; evenly
            spaced ones for models without attention.
        jpegs: row of a shown frame -> JPEG file.
    """

    prediction: Prediction
    seconds: NDArray[np.float64]
    attention: NDArray[np.float32] | None
    shown: NDArray[np.int64]
    jpegs: Mapping[int, bytes] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Returns the prediction as :meth:`Prediction.to_dict`, with attention; pictures are left out."""
        content = self.prediction.to_dict()
        content["attention"] = None
        if self.attention is not None:
            content["attention"] = {"seconds": self.seconds.tolist(), "values": self.attention.tolist()}
        return content


def survey_video(
    video: OpenVideo,
    features: VideoFeatures,
    model: Any,
    *,
    scores: NDArray[np.float32],
    name: str,
    class_names: Sequence[str],
    head_act: str,
    pictures: bool,
) -> Overview:
    """Returns the overview of an open video whose features are computed.

    Args:
        video: open, for pictures of its frames.
        features: of the frames that the prediction is made from, in the middle crop.
        model: made the features.
        scores: (K,) of the whole video, of all crops.
        name: of the video.
        class_names: K names.
        head_act: name of the score activation.
        pictures: False: no frame is shown.

    Raises:
        DecodeError: for frames that can no longer be decoded.
        NotFiniteError: for scores that are NaN or infinite.
    """
    window, stride = choose_windows(features)
    timeline = score_windows(model, features, window, stride, head_act=head_act)
    prediction = Prediction.of_features(features, name, list(class_names), scores, timeline=timeline)
    attention = _attention(model, features, head_act)
    decoded = np.flatnonzero(features.decoded.numpy())
    shown = _choose_frames(attention, decoded, SHOWN_FRAMES if pictures else 0)
    jpegs = _take_pictures(video, features.frame_numbers, shown)
    return Overview(prediction, features.times.seconds, attention, shown, jpegs)


def _attention(model: Any, features: VideoFeatures, head_act: str) -> NDArray[np.float32] | None:
    if not isinstance(model, FrameModel) or features.num_decoded < MIN_FRAMES:
        return None
    attention = read_attention(FrameScorer.of_video(model, features, head_act=head_act))
    return None if attention is None else attention.rollout


def _choose_frames(
    attention: NDArray[np.float32] | None, decoded: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Returns rows of decoded frames: by attention, the highest first; without attention evenly spaced."""
    if attention is None:
        return decoded[evenly_spaced(len(decoded), count)]
    return decoded[np.argsort(-attention[decoded], kind="stable")[:count]]


def _take_pictures(video: OpenVideo, numbers: NDArray[np.int64], rows: NDArray[np.int64]) -> dict[int, bytes]:
    """Returns row -> JPEG file; frames are scaled down as they are decoded, so that large ones fit."""
    if not len(rows):
        return {}
    frames = read_frames(video, numbers[rows], full_frame(_PICTURE_SIDE))
    return {row: encode_picture(frame) for row, frame in zip(rows.tolist(), frames, strict=True)}
