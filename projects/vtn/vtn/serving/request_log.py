"""A line per request for the log, and the sums of all requests for Prometheus.

The text format is a few lines, for which the package prometheus-client is not needed.
"""

from __future__ import annotations

import logging
import secrets
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

STAGES = ("upload", "wait", "compute")
"""Receiving the video, waiting for a process with the model, and decoding and scoring."""

_RECORD = "vtn.record"  # in the scope of a request
_BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # seconds, of the histogram

logger = logging.getLogger(__name__)


@dataclass
class RequestRecord:
    """A request as the log shows it: nothing of the video but its size.

    Attributes:
        id: in the log, and in the header ``X-Request-Id`` of the answer.
        num_bytes: received, with the form around the video.
        seconds: stage -> its duration, of the stages that were reached.
        outcome: status of HTTP; ``aborted``: the client left before the answer.
    """

    id: str = field(default_factory=lambda: secrets.token_hex(6))
    num_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    outcome: str = "aborted"

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Measures the duration of a stage."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = time.monotonic() - start

    def describe(self) -> str:
        """Returns the line of the log."""
        seconds = " ".join(f"{stage}={self.seconds[stage]:.3f}" for stage in STAGES if stage in self.seconds)
        return f"POST /predict {self.outcome} id={self.id} bytes={self.num_bytes} {seconds}".rstrip()


class Metrics:
    """Sums over all requests since the start of the server."""

    def __init__(self) -> None:
        self._outcomes: Counter[str] = Counter()
        self._num_bytes = 0
        self._buckets = {stage: [0] * (len(_BOUNDS) + 1) for stage in STAGES}
        self._seconds = dict.fromkeys(STAGES, 0.0)

    def add(self, record: RequestRecord) -> None:
        """Adds a request that has ended."""
        self._outcomes[record.outcome] += 1
        self._num_bytes += record.num_bytes
        for stage, seconds in record.seconds.items():
            self._buckets[stage][bisect_left(_BOUNDS, seconds)] += 1
            self._seconds[stage] += seconds

    def describe(self, *, gauges: Mapping[str, float], counters: Mapping[str, float]) -> str:
        """Returns all values in the text format of Prometheus.

        Args:
            gauges, counters: further names and values.
        """
        lines = ["# TYPE vtn_requests_total counter"]
        lines += [f'vtn_requests_total{{outcome="{k}"}} {n}' for k, n in sorted(self._outcomes.items())]
        lines += ["# TYPE vtn_stage_seconds histogram"]
        for stage, buckets in self._buckets.items():
            count = 0
            for bound, found in zip([*map(str, _BOUNDS), "+Inf"], buckets, strict=True):
                count += found
                lines.append(f'vtn_stage_seconds_bucket{{stage="{stage}",le="{bound}"}} {count}')
            lines.append(f'vtn_stage_seconds_sum{{stage="{stage}"}} {self._seconds[stage]:.6f}')
            lines.append(f'vtn_stage_seconds_count{{stage="{stage}"}} {count}')
        counters = {"vtn_received_bytes_total": self._num_bytes, **counters}
        for kind, values in (("counter", counters), ("gauge", gauges)):
            for name, value in values.items():
                lines += [f"# TYPE {name} {kind}", f"{name} {value:g}" if value < 1e5 else f"{name} {value}"]
        return "\n".join(lines) + "\n"


def record_of(scope: Scope) -> RequestRecord:
    """Returns the record of a request, for the stages of its work."""
    record: RequestRecord = scope[_RECORD]
    return record


class RequestLog:
    """Middleware that logs and counts the requests that send a video.

    Args:
        app: answers the requests.
        metrics: gets each request when it has ended.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, see the specification of ASGI."""
        if scope["type"] != "http" or scope["path"] != "/predict" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        record, has_left = RequestRecord(), False

        async def count() -> Message:
            nonlocal has_left
            message = await receive()
            has_left = has_left or message["type"] == "http.disconnect"
            record.num_bytes += len(message.get("body", b""))
            return message

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.outcome = "aborted" if has_left else str(message["status"])
                MutableHeaders(scope=message)["X-Request-Id"] = record.id
            await send(message)

        try:
            await self._app({**scope, _RECORD: record}, count, note)
        finally:
            self._metrics.add(record)
            logger.info("%s", record.describe())
