"""A few frames of a video side by side, with a weight under each."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from slowfast.datasets.views.sampling import whole_video
from slowfast.video.decoding import open_video
from slowfast.visualization.charts import bar_strip

FRAME_HEIGHT = 96
_GAP = 4
_QUALITY = 82


@dataclass(frozen=True)
class Filmstrip:
    """One video of a report.

    Attributes:
        video: its path, or what else names it.
        true, predicted: class names.
        score: of the predicted class, 0 … 1.
        picture: JPEG file of the frames side by side.
        seconds: (T,) when each frame is shown.
        weights: (T,) how much the model looked at each frame; None: not known.
    """

    video: str
    true: str
    predicted: str
    score: float
    picture: bytes
    seconds: Sequence[float]
    weights: Sequence[float] | None = None

    @property
    def right(self) -> bool:
        return self.true == self.predicted

    @property
    def data_uri(self) -> str:
        return "data:image/jpeg;base64," + base64.b64encode(self.picture).decode()

    @property
    def alt(self) -> str:
        """What the picture shows, in words."""
        return (
            f"{len(self.seconds)} frames of {self.video} from {self.seconds[0]:.2f} to "
            f"{self.seconds[-1]:.2f} seconds; true class {self.true}, predicted {self.predicted}"
        )

    @property
    def bars(self) -> str:
        """SVG of the weights, empty where there are none."""
        return (
            ""
            if self.weights is None
            else bar_strip(self.weights, title=f"Weights of the frames of {self.video}")
        )


def cut_filmstrip(path: str, num_frames: int) -> tuple[bytes, list[float]]:
    """Decodes the frames that whole-video evaluation sees.

    Args:
        path: the video.
        num_frames: spread over the whole video (all, where it has no more).

    Returns:
        The frames side by side as a JPEG file, and their times in seconds.

    Raises:
        DecodeError: where the video cannot be decoded.
    """
    with open_video(path) as video:
        chosen = whole_video(video.times, num_frames, target_fps=1.0)
        seconds = video.times.seconds[chosen].tolist()
        frames = video.read(chosen)  # (T, H, W, 3)
    count, height, width, _ = frames.shape
    width = round(width * FRAME_HEIGHT / height)
    strip = Image.new("RGB", (count * (width + _GAP) - _GAP, FRAME_HEIGHT), "white")
    for t, frame in enumerate(frames):
        picture = Image.fromarray(frame).resize((width, FRAME_HEIGHT), Image.Resampling.LANCZOS)
        strip.paste(picture, (t * (width + _GAP), 0))
    file = io.BytesIO()
    strip.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue(), seconds
