"""Freed memory is kept for the next tensors, unless the user has chosen otherwise."""

from __future__ import annotations

import subprocess
import sys

import pytest

from slowfast.distributed import host_memory

PAGE_FAULTS = """
import resource
import torch
from slowfast.distributed.host_memory import keep_freed_memory, set_malloc

def page_faults():
    for _ in range(4):  # until the heap has room for all blocks, whose places are not the same each time
        allocate()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    allocate()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def allocate():
    blocks = [torch.ones(2_000_000) for _ in range(20)]  # 160 MB in blocks of 8 MB

assert set_malloc(1 << 20, 1 << 20)  # each block comes from the system and goes back to it
print(page_faults())
assert keep_freed_memory()
print(page_faults())
"""


@pytest.mark.skipif(host_memory._find_mallopt() is None, reason="needs glibc")
def test_memory_that_is_freed_again_and_again_is_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run([sys.executable, "-c", PAGE_FAULTS], capture_output=True, text=True, check=True)

    given_back, kept = map(int, done.stdout.split())

    assert kept * 20 < given_back


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_the_variables_of_malloc_are_respected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "131072")
    monkeypatch.setattr(host_memory, "set_malloc", lambda *limits: pytest.fail("malloc was changed"))
    assert not host_memory.keep_freed_memory()


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_memory, "_find_mallopt", lambda: None)
    assert not host_memory.set_malloc(1 << 20, 1 << 20)
