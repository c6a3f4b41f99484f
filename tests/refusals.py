"""System calls that the kernel refuses, as file systems do that lack something: code to run in a
process of its own before the program, by a seccomp filter (Linux; seccomp(2)), so that every
library in the process meets the same refusal."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys

import pytest

CALLS = {
    "x86_64": {
        "chmod": 90, "fchmod": 91, "fchmodat": 268, "fchmodat2": 452, "flock": 73, "fsync": 74,
        "fdatasync": 75, "utime": 132, "utimes": 235, "utimensat": 280, "fcntl": 72,
        "rename": 82, "renameat": 264, "renameat2": 316, "chown": 92, "fchown": 93, "mmap": 9,
        "ftruncate": 77, "fallocate": 285,
    },
    "aarch64": {
        "fchmod": 52, "fchmodat": 53, "fchmodat2": 452, "flock": 32, "fsync": 82, "fdatasync": 83,
        "utimensat": 88, "fcntl": 25, "renameat": 38, "renameat2": 276, "fchown": 55, "mmap": 222,
        "ftruncate": 46, "fallocate": 47,
    },
}  # fmt: skip
"""Numbers of system calls, by machine."""

CHMOD = ("chmod", "fchmod", "fchmodat", "fchmodat2")
RENAME = ("rename", "renameat", "renameat2")
TIMES = ("utime", "utimes", "utimensat")

_SETS_A_LOCK = range(5, 8)
"""Commands of fcntl: F_GETLK, F_SETLK and F_SETLKW; the others work as always."""
_OFD = range(36, 39)

needs_refusals = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in CALLS, reason="needs seccomp of Linux"
)


def refusing(calls: tuple[str, ...], number: int) -> str:
    """Python code that lets these system calls fail with an error number in its process, and in
    those that it starts. Of `fcntl`, only locks are refused."""
    return f"import refusals; refusals.refuse({calls!r}, {number})\n"


def refuse(calls: tuple[str, ...], number: int = errno.EPERM) -> None:
    """Refuse system calls from now on, in this process."""
    numbers = CALLS[platform.machine()]
    fails = _op(0x06, 0x00050000 | number)  # return SECCOMP_RET_ERRNO
    program = [_op(0x20, 0)]  # load the number of the call
    for name in calls:
        if name not in numbers:
            continue
        if name != "fcntl":
            program += [_op(0x15, numbers[name], 0, 1), fails]
            continue
        locks = [*_SETS_A_LOCK, *_OFD]
        program += [_op(0x15, numbers[name], 0, 2 + 2 * len(locks)), _op(0x20, 24)]  # its command
        for lock in locks:
            program += [_op(0x15, lock, 0, 1), fails]
        program += [_op(0x20, 0)]
    program += [_op(0x06, 0x7FFF0000)]  # return SECCOMP_RET_ALLOW
    filters = ctypes.create_string_buffer(b"".join(program))
    header = struct.pack("@HxxxxxxQ", len(program), ctypes.addressof(filters))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((38, 1, 0, 0, 0), (22, 2, ctypes.create_string_buffer(header), 0, 0)):
        if libc.prctl(*arguments):  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
            raise OSError(ctypes.get_errno(), "no seccomp here")


def _op(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """One instruction of a filter: code, jumps if true or false, and an operand."""
    return struct.pack("=HBBI", code, yes, no, value)
