"""The messages between the server and a process with the model.

The process begins with :class:`Ready`, or with :class:`Failed` where it has no model. It answers a
:class:`Job` with :class:`Taken`, and then with :class:`Done` or :class:`Failed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

UPLOAD_NAME = "upload"
"""Name of the video file in the folder of a request."""


@dataclass(frozen=True)
class ModelSource:
    """The model that answers.

    Attributes:
        source: as for :class:`vtn.Predictor`.
        options: keyword arguments of :class:`vtn.Predictor`.
    """

    source: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A video to classify.

    Attributes:
        folder: folder of the request, with the video; other temporary files are written there, too.
        name: of the video for the answer.
        max_seconds: longest duration that is accepted.
        pictures: whether the answer has pictures of frames.
    """

    folder: Path
    name: str
    max_seconds: float
    pictures: bool = True


@dataclass(frozen=True)
class Ready:
    """The message of a worker whose model is loaded.

    Attributes:
        class_names: of the model.
    """

    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Taken:
    """The message of a worker that begins with a video: from now on its end may be due to the video."""


@dataclass(frozen=True)
class Done:
    """The content of an answer."""

    content: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """The reason why a video, or the model itself, has no answer.

    Attributes:
        reason: one line without paths of the server.
        is_too_long: the video is longer than the limit.
        of_server: the video is not the cause.
    """

    reason: str
    is_too_long: bool = False
    of_server: bool = False
