"""How many regions of memory this process maps: compiled programs take some each, and Linux allows about 65,000.

Beyond the limit nothing more can be compiled, and the process dies with "LLVM compilation error: Cannot allocate
memory", however much memory is free.
"""

from pathlib import Path

MAPS, LIMIT = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
SHARE = 0.5  # of the limit; a run of a network with many buckets takes up to 5,000 regions


def near_the_limit() -> bool:
    """Returns whether more than half of the regions that this process may map are in use; False if none are counted."""
    try:
        limit = int(LIMIT.read_text())
        with MAPS.open("rb") as lines:
            return sum(1 for _ in lines) > SHARE * limit
    except (OSError, ValueError):  # not Linux
        return False
