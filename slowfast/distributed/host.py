"""The host of a process: the cores that it may use, and memory that is kept for later tensors.

This module imports no torch.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

# Numbers of ``mallopt`` in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 << 20
# Freed memory that a process keeps at most at the end of its heap.
_KEPT_BYTES = 1 << 30

_CONTROL_GROUPS, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Returns the number of cores that this process may use, 1 or more.

    A container with a limit of CPU time, such as ``docker run --cpus 2``, sees all cores of its node but may
    use only as much time as that many cores have.
    """
    # Systems other than Linux have no affinity of processes.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(limit) for limit in _cpu_limits(_CONTROL_GROUPS, _OWN_GROUPS))]))


def _cpu_limits(control_groups: Path, own_groups: Path) -> Iterator[float]:
    """Yields the limits of this process's control groups, in cores; other systems than Linux have none.

    Args:
        control_groups: where their file system is mounted.
        own_groups: table of this process, lines of ``number:controllers:path``.
    """
    try:
        lines = own_groups.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, _, group = line.partition(":")
        controllers, _, path = group.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = control_groups / ("cpu" if controllers else "")  # version 1 or 2 of control groups
        own = PurePosixPath(path.lstrip("/"))
        for folder in (own, *own.parents):  # a container often sees its own group as the root
            if (limit := _read_cpu_limit(root / folder)) is not None:
                yield limit


def _read_cpu_limit(group: Path) -> float | None:
    """Returns the limit of one control group in cores; None: no limit."""
    try:
        if (file := group / "cpu.max").is_file():
            quota, period = file.read_text(encoding="utf-8").split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text(encoding="utf-8")
            period = (group / "cpu.cfs_period_us").read_text(encoding="utf-8")
        limit = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max" stands for no limit
        return None
    return limit if limit > 0 else None


def keep_freed_memory() -> bool:
    """Makes glibc's malloc keep freed memory; returns whether it does.

    By default it gives memory back to the system as soon as 64 MB are free, and gets it page by page when
    the next tensor is allocated: in a training step on a CPU that costs up to a third of the time. Blocks of
    more than 32 MB are still given back at once. The peak of memory stays the same.

    Does nothing with another C library, another allocator, or where the user has set malloc's own variables
    (``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_THRESHOLD_``, ``GLIBC_TUNABLES``).
    """
    chosen = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
    if any(os.environ.get(name) for name in chosen):
        return False
    return set_malloc(_LARGEST_MMAP_THRESHOLD, _KEPT_BYTES)


def set_malloc(mmap_threshold: int, trim_threshold: int) -> bool:
    """Sets two limits of glibc's malloc in bytes, see ``mallopt(3)``; returns whether it accepts them."""
    mallopt = _find_mallopt()
    return mallopt is not None and bool(
        mallopt(_MMAP_THRESHOLD, mmap_threshold) and mallopt(_TRIM_THRESHOLD, trim_threshold)
    )


@cache
def _find_mallopt() -> ctypes._CFuncPtr | None:  # type: ignore[name-defined]
    """Returns the function of glibc; None with another C library."""
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 (only glibc has it)
        return library.mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
