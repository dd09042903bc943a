"""Freed memory is kept for the next tensors, unless the user has chosen otherwise."""

from __future__ import annotations

import subprocess
import sys

import pytest

from slowfast.distributed import host_memory

PAGE_FAULTS = """
import resource, sys
import torch
from slowfast.distributed.host_memory import keep_freed_memory

def allocate():
    blocks = [torch.ones(2_000_000) for _ in range(20)]  # 160 MB in blocks of 8 MB
    del blocks

if sys.argv[1] == "keep":
    assert keep_freed_memory()
allocate()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    allocate()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(way: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PAGE_FAULTS, way], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(host_memory._find_mallopt() is None, reason="needs glibc")
def test_memory_that_is_freed_again_and_again_is_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    assert page_faults("keep") * 10 < page_faults("default")


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_the_variables_of_malloc_are_respected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "131072")
    monkeypatch.setattr(host_memory, "set_malloc", lambda *limits: pytest.fail("malloc was changed"))
    assert not host_memory.keep_freed_memory()


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_memory, "_find_mallopt", lambda: None)
    assert not host_memory.set_malloc(1 << 20, 1 << 20)
