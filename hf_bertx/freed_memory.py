"""Memory that tensors gave back is kept for the next ones, where glibc would return it to the system."""

from __future__ import annotations

import ctypes
import os

import numpy as np

# glibc's malloc.h: what is set, and to what
_ARENA_MAX, _MMAP_MAX, _TOP_PAD, _TRIM_THRESHOLD = -8, -4, -2, -1
_SETTINGS = (
    (_MMAP_MAX, 0),  # large blocks come from the heap too, whose blocks are found again
    (_TRIM_THRESHOLD, -1),  # the heap never shrinks
    (_TOP_PAD, 64 * 2**20),  # and grows by 64 MB
    (_ARENA_MAX, 1),  # threads share it: heaps of their own would shrink
)
_LARGEST_LESSON = 31 * 2**20  # bytes; from blocks of 32 MB and more glibc learns nothing


def keep_freed_memory() -> bool:
    """Lets this process keep memory that was given back, for as long as it lives.

    glibc takes every block above 32 MB from the system and returns it when it is freed. The tensors of a training step
    on a CPU are such blocks, and the system clears each of their pages in each step: more than a quarter of a step at
    500 tokens (`benchmarks/README.md`). The same numbers are computed. The most memory that is held at a time is about
    what it was, but it is held between steps too. It cannot be undone, so it is for a process of one's own, early, and
    not for a library.

    Returns:
        Whether it is so now. Another C library is left as it is, and so is glibc where the environment tells it
        otherwise (`MALLOC_TRIM_THRESHOLD_` and its like, or `GLIBC_TUNABLES`).

    Source:
        mallopt(3).
    """
    told = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if told or any(name.startswith("MALLOC_") for name in os.environ) or not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    done = [mallopt(name, value) for name, value in _SETTINGS]  # each of them, whatever another says
    return all(done)


def keep_freed_up_to(size: int) -> None:
    """Has glibc keep `size` bytes (62 MB at most) of what is freed for the next ones who ask, as a library may.

    Freed memory above a limit goes to the system, which clears it page by page when it is taken again: most of the
    time of tokenizing, whose lists or arrays come and go with each batch. glibc sets that limit itself, to twice the
    largest block that was freed so far, unless the environment sets it. So a block is taken and freed, untouched.
    With another C library nothing changes.

    Source:
        mallopt(3), the dynamic `M_MMAP_THRESHOLD`.
    """
    np.empty(min(size // 2, _LARGEST_LESSON), dtype=np.uint8)


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):  # Windows, macOS, musl
        return False
