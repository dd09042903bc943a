"""A producer in a thread: the order of items, errors, the bound on ready items, and closing."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from slowfast.datasets.loading.prefetch import Prefetch


def test_all_items_arrive_in_order() -> None:
    with Prefetch(range(100), depth=3) as items:
        assert list(items) == list(range(100))
        assert list(items) == []


def test_an_error_is_raised_after_the_items_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the camera is gone")

    with Prefetch(source()) as items:
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(OSError, match="the camera is gone"):
            next(items)
        with pytest.raises(StopIteration):
            next(items)


def test_the_producer_is_ahead_by_its_depth_at_most() -> None:
    made = []
    third = threading.Event()

    def source() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    with Prefetch(source(), depth=2) as items:
        assert third.wait(10)  # two are ready and a third waits for room, before any is requested
        assert made == [0, 1, 2]
        assert list(items) == list(range(10))


def test_closing_early_closes_the_source_in_its_thread() -> None:
    closed_by = []

    def source() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed_by.append(threading.current_thread().name)

    with Prefetch(source()) as items:
        assert next(items) == 0
    assert closed_by == ["prefetch"]
    with pytest.raises(StopIteration):
        next(items)


def test_closing_does_not_wait_for_a_source_that_never_answers() -> None:
    answer = threading.Event()

    def camera() -> Iterator[int]:
        answer.wait()
        yield 0

    items = Prefetch(camera())
    items.close(timeout=0.05)
    with pytest.raises(StopIteration):
        next(items)
    answer.set()
