"""The cores that a process may use, and freed memory that is kept unless the user has chosen otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from slowfast.distributed import device, host

PAGE_FAULTS = """
import resource
import torch
from slowfast.distributed.host import keep_freed_memory, set_malloc

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


@pytest.mark.skipif(host._find_mallopt() is None, reason="needs glibc")
def test_memory_that_is_freed_again_and_again_is_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run([sys.executable, "-c", PAGE_FAULTS], capture_output=True, text=True, check=True)

    given_back, kept = map(int, done.stdout.split())

    assert kept * 20 < given_back


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_the_variables_of_malloc_are_respected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "131072")
    monkeypatch.setattr(host, "set_malloc", lambda *limits: pytest.fail("malloc was changed"))
    assert not host.keep_freed_memory()


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_find_mallopt", lambda: None)
    assert not host.set_malloc(1 << 20, 1 << 20)


GROUPS_V2 = "0::/kubepods/pod7\n"
GROUPS_V1 = "5:cpuset:/x\n4:cpu,cpuacct:/docker/7\n0::/\n"


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file system of control groups, and a process on eight cores."""
    monkeypatch.setattr(host, "_CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(host, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("", {}, 8),
        (GROUPS_V2, {}, 8),
        (GROUPS_V2, {"cpu.max": "max 100000\n"}, 8),
        (GROUPS_V2, {"cpu.max": "200000 100000\n"}, 2),
        (GROUPS_V2, {"cpu.max": "50000 100000\n"}, 1),
        (GROUPS_V2, {"cpu.max": "3200000 100000\n"}, 8),
        (GROUPS_V2, {"kubepods/cpu.max": "300000 100000\n", "kubepods/pod7/cpu.max": "150000 100000\n"}, 2),
        (GROUPS_V2, {"kubepods/cpu.max": "100000 100000\n", "kubepods/pod7/cpu.max": "max 100000\n"}, 1),
        (GROUPS_V2, {"cpu.max": "unreadable\n"}, 8),
        (GROUPS_V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        (GROUPS_V1, {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        (GROUPS_V1, {"cpu/docker/7/cpu.cfs_quota_us": "4", "cpu/docker/7/cpu.cfs_period_us": "1"}, 4),
    ],
)
def test_the_limit_of_a_container_is_seen(
    groups: str, files: dict[str, str], cores: int, limited: Path
) -> None:
    (limited / "own").write_text(groups)
    for name, content in files.items():
        (limited / name).parent.mkdir(parents=True, exist_ok=True)
        (limited / name).write_text(content)
    assert host.usable_cores() == cores


def test_systems_without_affinity_have_their_cores(limited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS and Windows; `slowfast prepare` and the quickstart ask for the number, too."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert host.usable_cores() == 6
    from slowfast.cli.prepare import main

    with pytest.raises(SystemExit, match=r"^0$"):
        main(["scan", "--help"])


@pytest.mark.parametrize(("chosen", "threads"), [("", 2), ("5", 5)])
def test_pytorch_gets_no_more_threads_than_cores(
    chosen: str, threads: int, limited: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (limited / "own").write_text(GROUPS_V2)
    (limited / "cpu.max").write_text("200000 100000\n")
    monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    before = torch.get_num_threads()
    torch.set_num_threads(5)
    try:
        device.use_device(device.CPU)
        assert torch.get_num_threads() == threads
        torch.set_num_threads(1)
        device.limit_threads()
        assert torch.get_num_threads() == 1  # never more than before
    finally:
        torch.set_num_threads(before)


def test_the_modules_of_workers_import_no_torch() -> None:
    code = "import sys; import slowfast.distributed.host; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
