"""What glibc would keep of memory that nothing is in."""

from __future__ import annotations

import ctypes
import os

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
"""Options of glibc's mallopt (malloc.h)."""


def keep_memory_small() -> None:
    """Has glibc give large blocks back at once, and share its heaps among threads.

    By itself it raises the size from which it does so to 32 MB, and keeps a heap for each thread: a
    page with eight visitors would hold hundreds of megabytes that nothing is in.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if set_option is not None:
        set_option(M_MMAP_THRESHOLD, 4 * 2**20)
        set_option(M_ARENA_MAX, 2)


def release_free_memory() -> None:
    """Returns what was used for a moment: 150 MB after loading, as much under load."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
