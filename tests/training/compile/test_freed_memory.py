"""Freed blocks are kept: the process does not shrink."""

import platform
import subprocess
import sys

import pytest

RESIDENT = """
import ctypes, resource, sys, threading
from fcnjax.training.compile.freed_memory import keep_large_blocks
if "keep" in sys.argv:
    assert keep_large_blocks()
libc, block = ctypes.CDLL(None), 96 * 2**20
libc.malloc.argtypes, libc.malloc.restype, libc.free.argtypes = [ctypes.c_size_t], ctypes.c_void_p, [ctypes.c_void_p]

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def use():
    address = libc.malloc(block)
    ctypes.memset(address, 1, block)
    libc.free(address)

before = resident()
if "thread" in sys.argv:
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
else:
    use()
print((resident() - before) / block)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
@pytest.mark.parametrize("where", ["main", "thread"])
def test_freed_blocks_are_kept(where):
    def kept(how: str) -> float:
        command = [sys.executable, "-c", RESIDENT, how, where]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert kept("keep") > 0.9
    assert kept("default") < 0.1, "memory is kept in any case: the assertion above cannot fail"
