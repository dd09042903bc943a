"""Memory of the process that is kept for later tensors instead of being given back to the system."""

from __future__ import annotations

import ctypes
import os
from functools import cache

# Numbers of ``mallopt`` in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 << 20
KEPT_BYTES = 1 << 30
"""Freed memory that a process keeps at most at the end of its heap."""
_TRIMMED_BYTES = 64 << 20


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
    return set_malloc(_LARGEST_MMAP_THRESHOLD, KEPT_BYTES)


def trim_freed_memory() -> bool:
    """Undoes :func:`keep_freed_memory`: sets what malloc arrives at by itself after large tensors."""
    return set_malloc(_LARGEST_MMAP_THRESHOLD, _TRIMMED_BYTES)


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
