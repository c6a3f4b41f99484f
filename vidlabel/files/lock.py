"""Locks: only one process of vidlabel works on an output at a time."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

from vidlabel import console
from vidlabel.errors import OutputError
from vidlabel.files.names import shortened
from vidlabel.files.write import cannot_write


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold a lock on `path` against other processes of vidlabel.

    It is a lock of the system (flock) on a small file beside `path` that names the holder, and it
    ends with this process, however that ends; a file that is left behind locks nothing. On a file
    system without locks there is no lock, but a warning.

    Raises:
        OutputError: another process holds it, or the lock file cannot be made.
    """
    place = path.with_name(shortened(f".{path.name}.lock"))
    try:
        handle = _lock(place)
    except BlockingIOError:
        raise OutputError(
            f"{path}: in use by {_holder(place)}; wait for it to end, or name another output"
        ) from None
    except OSError as error:
        raise cannot_write(place, error) from error
    try:
        yield
    finally:
        with suppress(OSError):
            place.unlink()
        os.close(handle)


def _lock(place: Path) -> int:
    """An open, locked file at `place`. Raises BlockingIOError where another process has it."""
    while True:
        handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        with ExitStack() as failed:
            failed.callback(os.close, handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError:
                _warn_without_locks(place.parent)
                failed.pop_all()
                return handle
            if _is_at(handle, place):  # otherwise its last holder has just removed it
                with suppress(OSError):  # only a text for people
                    os.ftruncate(handle, 0)
                    os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                failed.pop_all()
                return handle


@cache
def _warn_without_locks(folder: Path) -> None:
    console.warn(
        f"{folder}: its file system has no locks; do not start another run with the same output "
        "before this one ends"
    )


def _is_at(handle: int, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), place.stat())
    except FileNotFoundError:
        return False


def _holder(place: Path) -> str:
    try:
        return place.read_text(encoding="utf-8").strip() or "another process"
    except (OSError, UnicodeDecodeError):
        return "another process"
