"""Threads of the program that compute side by side."""

from __future__ import annotations

import threading

import pytest
import torch

from slowfast.models.inference.compute_threads import ComputeThreads


@pytest.fixture(autouse=True)
def four_threads() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def threads_inside(compute: ComputeThreads) -> int:
    """Returns torch's number of threads for a new thread that computes."""
    found: list[int] = []

    def work() -> None:
        with compute.use():
            found.append(torch.get_num_threads())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize(("callers", "expected"), [(1, 4), (2, 2), (3, 1), (4, 1), (9, 1)])
def test_each_caller_gets_its_fraction(callers: int, expected: int) -> None:
    assert threads_inside(ComputeThreads(callers)) == expected


def test_those_that_remain_get_the_threads_of_those_that_ended() -> None:
    compute = ComputeThreads(4)
    for remaining, expected in ((3, 1), (2, 2), (1, 4)):
        compute.leave()
        assert threads_inside(compute) == expected, remaining
    compute.leave()
    compute.restore()
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize(("callers", "at_once"), [(1, 1), (3, 3), (9, 4)])
def test_no_more_callers_compute_at_once_than_torch_has_threads(callers: int, at_once: int) -> None:
    compute = ComputeThreads(callers)
    inside, most, lock = 0, 0, threading.Lock()
    all_inside = threading.Barrier(at_once)

    def work() -> None:
        nonlocal inside, most
        with compute.use():
            with lock:
                inside += 1
                most = max(most, inside)
            all_inside.wait(10)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(at_once * 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == at_once
