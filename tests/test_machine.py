"""Cores, memory, and freed memory that is kept for reuse."""

from __future__ import annotations

import errno
import platform
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from vidlabel.machine import free_memory, memory_ran_out, usable_cores, worker_count

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


def test_a_container_has_no_more_memory_than_its_limit(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    files = (limit, tmp_path / "none")
    available = psutil.virtual_memory().available
    assert free_memory(files) > available / 2
    limit.write_text("max\n")
    assert free_memory(files) > available / 2
    limit.write_text("4096\n")
    assert free_memory(files) == 4096


def test_worker_count() -> None:
    assert worker_count(3) == 3
    assert worker_count(None) == min(16, usable_cores()) >= 1


@pytest.mark.field
@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (ValueError("a mistake"), False),
    ],
)
def test_field_12_errors_that_mean_memory(error: Exception, is_it: bool) -> None:
    assert memory_ran_out(error) is is_it
    wrapped = RuntimeError("corrupt checkpoint")
    wrapped.__cause__ = error
    assert memory_ran_out(wrapped) is is_it
