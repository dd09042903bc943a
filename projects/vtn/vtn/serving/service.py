"""The way of a request: a place in the queue, the upload, the worker, the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtn.serving.form import FORM_BYTES, drain, receive_video
from vtn.serving.limits import Limits, Refusal, stopping, too_busy, too_large
from vtn.serving.messages import UPLOAD_NAME, Failed, Job
from vtn.serving.request_log import RequestRecord
from vtn.serving.uploads import UploadFolder
from vtn.serving.worker_pool import ClientLeft, PoolStopped, WorkerPool
from vtn.serving.worker_process import OutOfTime, WorkerLost, WorkerUnavailable


@dataclass
class Service:
    """The parts of a running server.

    Attributes:
        name: of the model, for clients.
        pool: computes answers.
        folder: of uploads.
        limits: per request.
        examples: videos to try.
        num_uploads: requests whose video is being received.
        num_jobs: requests that wait or are computed.
    """

    name: str
    pool: WorkerPool
    folder: UploadFolder
    limits: Limits
    examples: Sequence[Path] = ()
    num_uploads: int = 0
    num_jobs: int = 0

    @property
    def num_requests(self) -> int:
        """The number of requests that are being answered."""
        return self.num_uploads + self.num_jobs

    async def classify(
        self,
        chunks: AsyncIterator[bytes],
        headers: Mapping[str, str],
        wait_for_departure: Callable[[], Awaitable[object]],
        *,
        pictures: bool = True,
        record: RequestRecord,
    ) -> dict[str, Any]:
        """Returns the answer to an uploaded form, see :class:`vtn.serving.answers.Answer`.

        Args:
            chunks: of the form.
            headers: of the request.
            wait_for_departure: returns as soon as the client has closed the connection, after the upload.
            pictures: whether the answer has pictures of frames.
            record: gets the durations.

        Raises:
            Refusal: for a request that cannot be answered.
        """
        sends_nothing = headers.get("expect", "").lower() == "100-continue"  # before the first chunk is read
        try:
            with self.folder.request() as folder:
                with self._count_upload(), record.measure("upload"):
                    if int(headers.get("content-length", 0)) > self.limits.upload_bytes + FORM_BYTES:
                        raise too_large(self.limits)
                    sends_nothing = False
                    kind = headers.get("content-type", "")
                    name = await receive_video(chunks, kind, folder / UPLOAD_NAME, self.limits)
                with self._count_job():
                    job = Job(folder, name, self.limits.video_seconds, pictures)
                    return await self._compute(job, wait_for_departure, record)
        except Refusal as refusal:
            # The upload has not been read to its end.
            if refusal.status in (400, 413, 415, 429, 503) and not sends_nothing:
                await drain(chunks, self.limits)
            raise
        except asyncio.CancelledError:  # the server stops, and has waited long enough for its requests
            raise stopping() from None

    @contextmanager
    def _count_upload(self) -> Iterator[None]:
        """Counts an upload; a video that has arrived is always computed."""
        if not self.pool.has_started:
            raise Refusal(503, "the model is being loaded", "try again in a few seconds")
        if self.num_jobs >= self.limits.queue_length:
            raise too_busy(self.limits.queue_length, "answered")
        if self.num_uploads >= self.limits.num_uploads:
            raise too_busy(self.limits.num_uploads, "received")
        self.num_uploads += 1
        try:
            yield
        finally:
            self.num_uploads -= 1

    @contextmanager
    def _count_job(self) -> Iterator[None]:
        self.num_jobs += 1
        try:
            yield
        finally:
            self.num_jobs -= 1

    async def _compute(
        self, job: Job, wait_for_departure: Callable[[], Awaitable[object]], record: RequestRecord
    ) -> dict[str, Any]:
        try:
            found = await self.pool.run(job, self.limits.compute_seconds, wait_for_departure, record)
        except ClientLeft:  # a status of other servers, too, that only a log shows
            raise Refusal(499, "the client closed the connection", "send the video again") from None
        except OutOfTime:
            raise Refusal(
                504,
                f"the video could not be decoded and scored within {self.limits.compute_seconds:g} seconds",
                "send a shorter video or one of lower resolution, or raise --time-limit of the server",
            ) from None
        except WorkerLost as lost:
            raise _explain_loss(lost) from None
        except PoolStopped:
            raise stopping() from None
        except WorkerUnavailable:
            raise Refusal(503, "the model is not available", "try again later") from None
        if isinstance(found, Failed):
            raise _explain(found, self.limits)
        return found.content

    def close(self) -> None:
        """Ends the workers and removes all temporary files."""
        self.pool.close()
        self.folder.close()


def _explain_loss(lost: WorkerLost) -> Refusal:
    """Returns the answer to a video whose process ended: only a crash is a fault of the video."""
    if lost.is_crash:
        return Refusal(
            422,
            "the video ended the process that decodes it",
            "encode the video again, for instance with ffmpeg -i VIDEO -c:v libx264 new.mp4",
        )
    if lost.is_error:
        return Refusal(
            500,
            "the model failed while it scored the video",
            "tell the operator of the server; its log has the details",
        )
    return Refusal(
        503,
        "the process with the model was ended while it worked on the video",
        "try again in a few seconds; if it is ended again, send a shorter video or one of lower resolution",
    )


def _explain(failed: Failed, limits: Limits) -> Refusal:
    """Returns the answer to a video that has no scores."""
    if failed.of_server:
        return Refusal(500, failed.reason, "tell the operator of the server; its model has to be repaired")
    if failed.is_too_long:
        return Refusal(
            422,
            f"{failed.reason}; at most {limits.video_seconds:g} are accepted",
            "send a part of the video, or raise --max-duration of the server",
        )
    return Refusal(
        422,
        f"the video cannot be decoded: {failed.reason}",
        "send a complete video file that a player can show",
    )
