"""Memory that is freed is kept for its next use."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_COUNT = """
import resource
import numpy as np
from vidlabel.machine import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.empty(100 << 20, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults())
keep_freed_memory()
np.empty(100 << 20, np.uint8).fill(1)
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_large_blocks_are_mapped_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _COUNT], capture_output=True, text=True, check=True, timeout=100
    )
    before, after = map(int, done.stdout.split())
    assert after < before / 4, (before, after)
