"""The folder of the cache: where it is, what it contains, which files can be removed.

Entries are NumPy files named by a digest, in sub-folders named by its first two digits. Every file
is written under a temporary name and renamed, so several processes can share the folder. The cache
only saves time: every file can be removed.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from vidlabel.errors import OutputError

UNUSED_DAYS = 30
"""Entries that no training has used for this long are removed."""
TEMPORARY_DAYS = 1
"""Temporary files of this age were left by runs that were killed."""

_ENTRY = re.compile(r"[0-9a-f]{64}\.npy")
_PART = re.compile(r"[0-9a-f]{64}\.[0-9a-z_]+\.part")  # as `cache_entry` names them


@dataclass(frozen=True)
class Usage:
    """What a cache contains: number of entries, and bytes including temporary files."""

    videos: int
    size: int


def default_folder() -> Path:
    """$VIDLABEL_CACHE, or a folder in the user's cache folder on this system.

    Raises:
        OutputError: there is neither, as for a user without a home folder.
    """
    if named := os.environ.get("VIDLABEL_CACHE"):
        return Path(named)
    with suppress(RuntimeError):  # of platformdirs; its older releases return "~"
        folder = user_cache_path("vidlabel", appauthor=False) / "frames"
        if folder.is_absolute():
            return folder
    raise OutputError(
        "decoded frames cannot be cached: this user has no home folder and HOME is not set; "
        "choose a folder with --cache FOLDER, or set VIDLABEL_CACHE"
    )


def place_of(folder: Path, digest: str) -> Path:
    """The file of an entry."""
    return folder / digest[:2] / f"{digest}.npy"


def usage(folder: Path, *, clear: bool = False) -> Usage:
    """What the folder contains; with `clear`, all files of the cache, no others, are removed.

    Raises:
        OSError: a file cannot be read, or not be removed.
    """
    videos = size = 0
    for entry, is_entry in _files(folder):
        with suppress(FileNotFoundError):  # another process has just removed it
            status = entry.stat(follow_symlinks=False)
            if clear:
                Path(entry.path).unlink()
            videos, size = videos + is_entry, size + status.st_size
    for number in range(256) if clear else ():
        with suppress(OSError):  # not empty, or missing
            (folder / f"{number:02x}").rmdir()
    return Usage(videos, size)


def remove_unused(folder: Path, used: Container[str] = ()) -> None:
    """Remove entries that are unused for UNUSED_DAYS, but none whose digest is `used`, and old
    temporary files, where possible.

    Empty sub-folders stay: another process may be about to write to them.
    """
    now = time.time()
    with suppress(OSError):
        for entry, is_entry in _files(folder):
            with suppress(OSError):  # it may be gone, or another user's
                age_s = now - entry.stat(follow_symlinks=False).st_mtime
                old = age_s > (UNUSED_DAYS if is_entry else TEMPORARY_DAYS) * 86400
                if old and entry.name.removesuffix(".npy") not in used:
                    Path(entry.path).unlink()


def _files(folder: Path) -> Iterator[tuple[os.DirEntry[str], bool]]:
    """Every file of the cache, and whether it is an entry; links are not followed."""
    for number in range(256):
        inner = folder / f"{number:02x}"
        try:
            found = [] if inner.is_symlink() else list(os.scandir(inner))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in found:
            is_entry = _ENTRY.fullmatch(entry.name) is not None
            if (is_entry or _PART.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False):
                yield entry, is_entry
