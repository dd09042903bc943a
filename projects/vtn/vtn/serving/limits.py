"""Bounds of what clients may ask for, and answers to requests that cannot be served."""

from __future__ import annotations

from dataclasses import dataclass

from slowfast.errors import check_positive

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Limits:
    """Limits per request and of all requests together.

    Attributes:
        upload_bytes: size of a video file.
        video_seconds: duration of a video.
        queue_length: requests that wait or are computed, at which no further upload is accepted.
        compute_seconds: time for decoding and scoring a video.
        num_uploads: uploads at the same time, apart from ``queue_length``: slow clients do not stop others.
        upload_seconds: time for the upload of a video.
        idle_seconds: time in which an upload must deliver some bytes.
    """

    upload_bytes: int = 200 * MEGABYTE
    video_seconds: float = 600.0
    queue_length: int = 32
    compute_seconds: float = 120.0
    num_uploads: int = 64
    upload_seconds: float = 300.0
    idle_seconds: float = 15.0

    def __post_init__(self) -> None:
        check_positive(**vars(self))


class Refusal(Exception):  # noqa: N818 (an answer to a client)
    """An answer to a request that cannot be served.

    Args:
        status: of HTTP.
        error: the problem in one sentence, without paths of the server.
        remedy: the next thing for the client to do.
    """

    def __init__(self, status: int, error: str, remedy: str) -> None:
        self.status = status
        self.error = error
        self.remedy = remedy
        super().__init__(status, error, remedy)


def too_large(limits: Limits) -> Refusal:
    """Returns the answer to an upload with too many bytes."""
    return Refusal(
        413,
        f"the upload is larger than {limits.upload_bytes / MEGABYTE:g} MB",
        "send a shorter video or one of lower resolution, or raise --max-upload of the server",
    )


def stopping() -> Refusal:
    """Returns the answer to a request that the end of the server prevents."""
    return Refusal(503, "the server is stopping", "try again in a few seconds")


def too_busy(count: int, kind: str) -> Refusal:
    """Returns the answer to a request while as many are uploaded, or answered, as the limits allow."""
    return Refusal(429, f"{count} requests are being {kind} already", "try again in a few seconds")
