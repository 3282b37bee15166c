"""Blocks are kept: what is freed is not mapped anew from the system."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from fcnjax.memory import keep_large_blocks
if sys.argv[1] == "keep":
    assert keep_large_blocks()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(3 * 2**20, np.uint8)[::4096] = 1  # touches 768 pages (numpy asks for huge ones from 4 MB on), frees them
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
[faults() for _ in range(3)]
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_blocks_are_used_again():
    def faults(how: str) -> int:
        command = [sys.executable, "-c", FAULTS, how]
        environment = {"MALLOC_MMAP_THRESHOLD_": "1000000"} if how == "default" else {}
        return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)

    assert faults("keep") < 50
    assert faults("default") > 500, "the measure above cannot fail: memory is kept in any case"
