"""Filmstrips: some frames of a video side by side, with the weight of each frame below it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from slowfast.datasets.views.sampling import whole_video
from slowfast.engine.prediction_file import Predictions
from slowfast.errors import DecodeError
from slowfast.log import get_logger
from slowfast.video.decoding import open_video
from slowfast.visualization.charts import bar_strip

logger = get_logger(__name__)

FRAME_HEIGHT = 96
STRIP_FRAMES = 8
_GAP = 4
_QUALITY = 82
# Pixels of a JPEG file in a row.
_MAX_WIDTH = 65_500


@dataclass(frozen=True)
class Filmstrip:
    """One video of a report; it has T frames.

    Attributes:
        video: path or name of the video.
        true, predicted: class names.
        score: score of the predicted class, 0 … 1.
        image: JPEG file of the frames side by side.
        seconds: (T,) time of each frame in the video.
        weights: (T,) fractions, the weight that the model gives each frame; None: unknown.
    """

    video: str
    true: str
    predicted: str
    score: float
    image: bytes
    seconds: Sequence[float]
    weights: Sequence[float] | None = None

    @property
    def correct(self) -> bool:
        """Whether the predicted class is the true one."""
        return self.true == self.predicted

    @property
    def data_uri(self) -> str:
        """The image as a ``data:`` address."""
        return "data:image/jpeg;base64," + base64.b64encode(self.image).decode()

    @property
    def alt(self) -> str:
        """Description of the image, for readers who do not see it."""
        return (
            f"{len(self.seconds)} frames of {self.video} from {self.seconds[0]:.2f} to "
            f"{self.seconds[-1]:.2f} seconds; true class {self.true}, predicted {self.predicted}"
        )

    @property
    def bars(self) -> str:
        """The weights as SVG; empty if they are unknown."""
        if self.weights is None:
            return ""
        return bar_strip(self.weights, title=f"Weights of the frames of {self.video}")


def try_filmstrip(
    predictions: Predictions, row: int, true: str, predicted: str, score: float
) -> Filmstrip | None:
    """Returns the filmstrip of a tested video; None for one that cannot be decoded, which the log names.

    Args:
        row: of the video in ``predictions``.
        true, predicted, score: see :class:`Filmstrip`.
    """
    found = try_frames(predictions.paths[row], predictions.segment(row))
    return Filmstrip(predictions.short_name(row), true, predicted, score, *found) if found else None


def try_frames(path: str, segment: tuple[float, float] | None) -> tuple[bytes, list[float]] | None:
    """Returns ``STRIP_FRAMES`` frames as :func:`cut_filmstrip` does; None for a video that the log names."""
    try:
        return cut_filmstrip(path, STRIP_FRAMES, segment)
    except (DecodeError, OSError) as error:
        logger.warning("no filmstrip: %s", error)
        return None


def cut_filmstrip(
    path: str, num_frames: int, segment: tuple[float, float] | None = None
) -> tuple[bytes, list[float]]:
    """Decodes the frames that an evaluation of the full video or segment uses.

    Args:
        path: the video, or the name of a member of a tar archive.
        num_frames: number of frames, evenly spread over the video; all frames if the video has fewer.
        segment: start and end in the file, in seconds; None: the full file.

    Returns:
        The frames side by side as a JPEG file, and their times in the file, in seconds.

    Raises:
        DecodeError: if the video cannot be decoded, or ends before the segment starts.
    """
    with open_video(path) as video:
        first, times = video.times.cut_segment(segment, path)
        chosen = first + whole_video(times, num_frames, target_fps=1.0)
        seconds = video.times.seconds[chosen].tolist()
        frames = video.read(chosen)  # (T, H, W, 3)
    count, height, width, _ = frames.shape
    # Extreme shapes are distorted rather than refused: a JPEG file has neither 0 nor more pixels in a row.
    width = min(max(round(width * FRAME_HEIGHT / height), 1), _MAX_WIDTH // count - _GAP)
    strip = Image.new("RGB", (count * (width + _GAP) - _GAP, FRAME_HEIGHT), "white")
    for t, frame in enumerate(frames):
        image = Image.fromarray(frame).resize((width, FRAME_HEIGHT), Image.Resampling.LANCZOS)
        strip.paste(image, (t * (width + _GAP), 0))
    file = io.BytesIO()
    strip.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue(), seconds
