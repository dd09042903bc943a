"""A worker without a model, which starts at once: its uploads say what becomes of it."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

from vtn.serving.messages import UPLOAD_NAME, Done, Job, ModelSource, Ready, Taken

DONE, ERROR, WAIT = b"done", b"error", b"wait"


def run_stand_in(model: ModelSource, folder: Path, connection: Connection) -> None:
    """Answers jobs as :func:`vtn.serving.worker.answer_jobs` does.

    The content of an upload is ``DONE``, ``ERROR``, ``WAIT`` for longer than any time limit, or the name of
    the signal that ends the process. While the folder ``model.source`` contains a file ``loading`` the model
    is not ready, and while it contains a file ``before`` each job ends the process before it is taken.
    """
    while Path(model.source, "loading").exists():
        time.sleep(0.01)
    connection.send(Ready(("first", "second")))
    while True:
        try:
            job: Job = connection.recv()
        except EOFError:
            return
        if Path(model.source, "before").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        connection.send(Taken())
        content = (job.folder / UPLOAD_NAME).read_bytes()
        if content == WAIT:
            time.sleep(600)
        elif content == ERROR:
            raise RuntimeError("a defect")
        elif content != DONE:
            os.kill(os.getpid(), signal.Signals[content.decode()])
        connection.send(Done({}))
