"""The memory of the process: large blocks are kept for the next step instead of being given back after each."""

import ctypes
import platform

LARGEST_KEPT = 2**31 - 1  # bytes of a block that may be kept, and of free ones at the end: mallopt's largest number
SPARE = 2**28  # bytes by which the heap grows at a time
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8  # names of options in glibc's malloc.h


def keep_large_blocks() -> bool:
    """Tells glibc to keep freed blocks, for programs that allocate the same tens of megabytes at every step.

    XLA's CPU runtime asks for the temporaries of a step anew at every call. By default glibc maps each large block from
    the system and gives it back, and the system clears every page of it: of a train step with 47 MB of temporaries
    (`fcnjax bench layers`) that was 37 % of the time. What threads allocate is kept only in an arena that all of them
    share: one of their own has no room for more than 64 MB, and a step with 500 MB of temporaries (7 images of 240x300)
    took 1.4 times as long. The price is that a process keeps the most that it ever held.

    To be called before JAX does its first computation; it is a setting of the whole process, so the library calls it in
    commands only. In a program of your own, call it first, or set `GLIBC_TUNABLES`.

    Returns:
        Whether there is a glibc that took the settings; elsewhere nothing changes.

    Source: mallopt(3).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {_ARENA_MAX: 1, _MMAP_THRESHOLD: LARGEST_KEPT, _TRIM_THRESHOLD: LARGEST_KEPT, _TOP_PAD: SPARE}
    taken = [mallopt(option, value) for option, value in settings.items()]
    return all(taken)
