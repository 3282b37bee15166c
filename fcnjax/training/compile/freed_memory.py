"""The memory of the process: freed large blocks are kept for the next step, not returned to the system."""

import ctypes
import platform

LARGEST_KEPT = 2**31 - 1  # bytes of the largest block kept, and of free memory at the end: mallopt's maximum
SPARE = 2**28  # bytes by which the heap grows at a time
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8  # from glibc's malloc.h


def keep_large_blocks() -> bool:
    """Tells glibc to keep freed blocks, for programs that allocate the same tens of megabytes at every step.

    XLA's CPU runtime allocates the temporaries of a step at every call. By default glibc maps each large block from the
    system and returns it, and the system clears every page of it, which takes 37 % of the time of a train step with
    47 MB of temporaries (`fcnjax bench layers`). All threads share one arena here, since an arena per thread is limited
    to 64 MB: a step with 500 MB of temporaries (7 images of 240x300) took 1.4 times as long. The price is that a
    process keeps the largest amount of memory that it has ever used.

    Call it before JAX's first computation. It is a setting of the whole process, so the library calls it in commands
    only; in your own program, call this function first or set `GLIBC_TUNABLES`.

    Returns:
        Whether glibc accepted the settings; False, without effect, under another C library.

    Source: mallopt(3).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {_ARENA_MAX: 1, _MMAP_THRESHOLD: LARGEST_KEPT, _TRIM_THRESHOLD: LARGEST_KEPT, _TOP_PAD: SPARE}
    accepted = [mallopt(option, value) for option, value in settings.items()]  # tries all of them, even after a refusal
    return all(accepted)
