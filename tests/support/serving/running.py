"""A server as its clients see it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import httpx

from vtn.serving.limits import Limits
from vtn.serving.service import Service

LIMITS = Limits(upload_bytes=3_000_000, video_seconds=60.0, queue_length=24, compute_seconds=60.0)


@dataclass
class Running:
    """A server on a free port.

    Attributes:
        url: of the server.
        port: of the server.
        service: behind it.
    """

    url: str
    port: int
    service: Service

    def client(self, **options: Any) -> httpx.Client:
        """Returns a client."""
        return httpx.Client(base_url=self.url, timeout=120, trust_env=False, **options)

    def send(self, content: bytes, name: str = "video.mp4") -> httpx.Response:
        """Returns the answer to an upload."""
        with self.client() as client:
            return client.post("/predict", files={"video": (name, content)})

    def files(self) -> list[Path]:
        """Returns all temporary files and folders of requests."""
        folder = self.service.folder
        # Not by rglob, which fails for a folder that the server removes meanwhile.
        found = [Path(at, name) for at, *names in os.walk(folder.path) for name in chain(*names)]
        return [path for path in found if not path.is_relative_to(folder.worker_path)]


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.01)
