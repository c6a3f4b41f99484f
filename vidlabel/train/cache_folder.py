"""The folder of decoded frames: where it is, what it holds, what may go.

Entries are NumPy files named by a digest, in folders named by its first two digits. Every file is
written under another name first and renamed, so that several processes can share the folder; none
is needed for anything but speed.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

UNUSED_DAYS = 30
"""Entries that no training has used for so long are removed."""
TORN_DAYS = 1
"""Temporary files so old are of runs that were killed."""

_ENTRY = re.compile(r"[0-9a-f]{64}\.npy")
_TORN = re.compile(r"[0-9a-f]{64}\.[0-9a-z_]+\.part")


@dataclass(frozen=True)
class Usage:
    """What a folder holds: number of videos, and bytes with what torn writes have left."""

    videos: int
    size: int


def default_folder() -> Path:
    """$VIDLABEL_CACHE, or the user's cache folder (XDG Base Directory Specification)."""
    named = os.environ.get("VIDLABEL_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "vidlabel" / "frames"


def place_of(folder: Path, digest: str) -> Path:
    """The file of an entry."""
    return folder / digest[:2] / f"{digest}.npy"


def part_prefix(digest: str) -> str:
    """How the name of an entry begins that is being written; it ends with `.part`."""
    return f"{digest}."


def usage(folder: Path) -> Usage:
    """What the folder holds; nothing where there is none."""
    videos = size = 0
    for entry, is_entry in _files(folder):
        with suppress(FileNotFoundError):  # another process has just removed it
            size += entry.stat(follow_symlinks=False).st_size
            videos += is_entry
    return Usage(videos, size)


def clear(folder: Path) -> Usage:
    """Remove all entries and nothing else; what was removed. Raises OSError."""
    videos = size = 0
    for entry, is_entry in _files(folder):
        with suppress(FileNotFoundError):  # another process was quicker
            status = entry.stat(follow_symlinks=False)
            Path(entry.path).unlink()
            videos, size = videos + is_entry, size + status.st_size
    for number in range(256):
        with suppress(OSError):  # it is not empty, or not there
            (folder / f"{number:02x}").rmdir()
    return Usage(videos, size)


def remove_unused(folder: Path, used: Container[str] = ()) -> None:
    """Remove what nobody has used for UNUSED_DAYS, and what was never finished, as far as possible.

    Empty folders stay: another process may be about to write there.

    Args:
        folder: the cache.
        used: digests of entries to keep, however old they seem.
    """
    now = time.time()
    with suppress(OSError):
        for entry, is_entry in _files(folder):
            with suppress(OSError):  # it may be gone, or another user's
                age_s = now - entry.stat(follow_symlinks=False).st_mtime
                old = age_s > (UNUSED_DAYS if is_entry else TORN_DAYS) * 86400
                if old and entry.name.removesuffix(".npy") not in used:
                    Path(entry.path).unlink()


def _files(folder: Path) -> Iterator[tuple[os.DirEntry[str], bool]]:
    """Every file of ours, and whether it is an entry; links are not followed."""
    for number in range(256):
        inner = folder / f"{number:02x}"
        try:
            found = [] if inner.is_symlink() else list(os.scandir(inner))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in found:
            is_entry = _ENTRY.fullmatch(entry.name) is not None
            if (is_entry or _TORN.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False):
                yield entry, is_entry
