"""The process that decodes and scores videos, apart from the server: hostile files can only end this process.

The parent sends a :class:`Job` through a pipe and receives a :class:`Done` or a :class:`Failed`; the first
message from the worker is :class:`Ready` or :class:`Failed`.
"""

from __future__ import annotations

import base64
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from slowfast.errors import NotFiniteError, SlowFastError

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
    """

    folder: Path
    name: str
    max_seconds: float


@dataclass(frozen=True)
class Ready:
    """The message of a worker whose model is loaded.

    Attributes:
        class_names: of the model.
    """

    class_names: tuple[str, ...]


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


def run_worker(model: ModelSource, connection: Connection) -> None:
    """Loads the model and answers jobs until the parent closes the pipe or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends this one
    from slowfast.distributed.device import limit_threads
    from vtn.predictor.predictor import Predictor

    limit_threads()
    try:
        predictor = Predictor(model.source, **model.options)
        predictor.check_overview()
    except (SlowFastError, OSError) as error:
        connection.send(Failed(str(error), of_server=True))
        return
    connection.send(Ready(tuple(predictor.class_names)))
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        tempfile.tempdir = str(job.folder)  # so that a killed worker leaves nothing elsewhere
        connection.send(_answer(predictor, job))


def _answer(predictor: Any, job: Job) -> Done | Failed:
    """Returns the answer to a job; errors of the video are part of it, others end the process."""
    from slowfast.video.decoding import open_video
    from vtn.predictor.scoring import FAILURES
    from vtn.predictor.texts import describe_failure

    path = str(job.folder / UPLOAD_NAME)
    try:
        with open_video(path) as video:
            seconds = video.times.duration
        if seconds > job.max_seconds:
            return Failed(f"the video lasts {seconds:.0f} seconds", is_too_long=True)
        found = predictor.overview(path)
    except FAILURES as error:
        reason = describe_failure(error, path).replace(path, job.name).replace(str(job.folder), "")
        return Failed(reason, of_server=isinstance(error, NotFiniteError))
    content = found.to_dict()
    content["video"] = job.name
    content["classes"] = list(predictor.class_names)
    content["score_activation"] = _score_activation(predictor.model)
    content["shown_frames"] = [
        {
            "seconds": float(found.seconds[row]),
            "attention": None if found.attention is None else float(found.attention[row]),
            "jpeg": base64.b64encode(found.jpegs[row]).decode(),
        }
        for row in found.shown.tolist()
    ]
    return Done(content)


def _score_activation(model: Any) -> str:
    """Returns the name of the score activation; an exported model applies it itself."""
    description = getattr(model, "description", None)
    return description.score_activation if description else model.evaluation.get("MODEL.HEAD_ACT", "softmax")
