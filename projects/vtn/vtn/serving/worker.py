"""The process that decodes and scores videos, apart from the server: hostile files can only end this process.

See :mod:`vtn.serving.messages` for what the server and the process send each other.
"""

from __future__ import annotations

import base64
import errno
import signal
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from slowfast.errors import NotFiniteError, SlowFastError
from slowfast.files import UNWRITABLE_DISK
from vtn.serving.messages import UPLOAD_NAME, Done, Failed, Job, ModelSource, Ready, Taken

# Errors of the system that no video causes: a full or read-only disk, no file left to open.
_OF_SYSTEM = UNWRITABLE_DISK | {errno.EMFILE, errno.ENFILE}


def answer_jobs(model: ModelSource, folder: Path, connection: Connection) -> None:
    """Loads the model and answers jobs until the parent closes the pipe or ends.

    Args:
        model: to load.
        folder: for temporary files, which a killed process cannot remove.
        connection: to the parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends this one
    if folder.is_dir():
        # Also for packages that make temporary folders when they are imported, as Weights & Biases does,
        # which timm imports where it is installed.
        tempfile.tempdir = str(folder)
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
        connection.send(Taken())
        tempfile.tempdir = str(job.folder)  # removed at the end of the request
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
        found = predictor.overview(path, pictures=job.pictures)
    except FAILURES as error:
        reason = describe_failure(error, path).replace(path, job.name).replace(str(job.folder), "")
        is_of_system = isinstance(error, OSError) and error.errno in _OF_SYSTEM
        return Failed(reason, of_server=is_of_system or isinstance(error, NotFiniteError))
    content = found.to_dict()
    content["video"] = job.name
    content["classes"] = list(predictor.class_names)
    content["score_activation"] = predictor.score_activation
    content["shown_frames"] = [
        {
            "seconds": float(found.seconds[row]),
            "attention": None if found.attention is None else float(found.attention[row]),
            "jpeg": base64.b64encode(found.jpegs[row]).decode(),
        }
        for row in found.shown.tolist()
    ]
    return Done(content)
