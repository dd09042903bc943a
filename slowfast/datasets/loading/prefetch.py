"""A producer in a background thread, for instance a decoder that works while a model computes.

``torch.utils.data.DataLoader`` cannot replace it: that runs a data set in other processes, and cannot stop a
source that waits for a camera.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """An iterator over ``source`` whose thread keeps up to ``depth`` items ready.

    Use it in a ``with`` statement, or call :meth:`close`. An exception of ``source`` is raised by the
    iteration after the items that came before it. ``source`` must not reuse the memory of an item.

    Args:
        source: iterated over by the thread alone; a generator is also closed there.
        depth: maximum number of ready items, at least 1; one more may be in production.
    """

    def __init__(self, source: Iterable[T], depth: int = 2) -> None:
        self._source = source
        self._depth = depth
        self._ready: deque[T] = deque()
        self._error: BaseException | None = None
        self._ended = self._closed = False
        self._changed = threading.Condition()
        # A daemon thread: a camera that never answers must not keep the process alive.
        self._thread = threading.Thread(target=self._produce, name="prefetch", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._ended or self._closed)
            if self._ready:
                item = self._ready.popleft()
                self._changed.notify_all()
                return item
            if self._error is not None:
                error, self._error = self._error, None
                raise error
        raise StopIteration

    def close(self, timeout: float = 5.0) -> None:
        """Stops the thread after the item in production.

        Args:
            timeout: seconds to wait for the thread; after that it is left to end by itself.
        """
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()
        self._thread.join(timeout)

    def _produce(self) -> None:
        try:
            self._queue_all()
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _queue_all(self) -> None:
        items = iter(self._source)
        try:
            for item in items:
                if not self._queue(item):
                    return
        finally:
            if hasattr(items, "close"):
                items.close()

    def _queue(self, item: T) -> bool:
        """Waits for room and queues an item; returns False once the consumer has closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._ready) < self._depth)
            if not self._closed:
                self._ready.append(item)
                self._changed.notify_all()
            return not self._closed
