"""The views of many videos in order, read ahead by threads of this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

from vtn.predictor.scoring import attempt
from vtn.predictor.videos import VideoSource
from vtn.predictor.views import ReadVideo, ViewPlan

Reading: TypeAlias = tuple[VideoSource, ReadVideo | Exception]
"""A video and its views, or the reason why it cannot be read."""


def read_in_threads(
    plan: ViewPlan,
    sources: Iterable[VideoSource],
    *,
    workers: int,
    threads: int,
    stop: Callable[[], object],
) -> Generator[Reading, None, None]:
    """Yields the videos in order; closing the generator ends the threads after the videos that they read.

    Args:
        sources: may have no end.
        workers: videos that are read at the same time, while the model runs.
        threads: decoding threads per video.
        stop: called where the generator ends early; ends what the threads wait for.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        pending: deque[tuple[VideoSource, Future[ReadVideo | Exception]]] = deque()
        try:
            for source in sources:
                pending.append((source, pool.submit(attempt, plan.read, source, threads)))
                if len(pending) > workers:
                    source, found = pending.popleft()
                    yield source, found.result()
            while pending:
                source, found = pending.popleft()
                yield source, found.result()
        except BaseException:
            for _, found in pending:
                found.cancel()
            stop()
            raise
