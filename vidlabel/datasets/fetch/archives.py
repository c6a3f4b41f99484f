"""Archives of unknown origin, zip or rar: checked as a whole before anything is unpacked.

rarfile reads the structure of rars, and what is stored in them without compression, by itself;
for compressed entries it runs unrar, unar, 7z or bsdtar, whichever is installed.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import stat
import threading
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rarfile

from vidlabel.errors import OutputError, RunError, VidlabelError

Note = Callable[[str], None]
"""Is called with lines that say what happens."""

_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_RAR_MAGIC = b"Rar!\x1a\x07"
MAGIC = (*_ZIP_MAGIC, _RAR_MAGIC)
"""The first bytes of archives."""
_BLOCK = 1 << 18
_SPARE = 64 << 20  # bytes left free on the disk
_RAR_STORED = 0x30
_SOLID_MOST = 200  # compressed entries; each one of a solid rar is unpacked from the beginning


@dataclass
class Budget:
    """What archives, nested ones included, may still hold: a limit against archive bombs."""

    entries: int
    size_bytes: int

    def spend(self, path: Path, entries: int, size_bytes: int) -> None:
        """Subtract an archive's contents. Raises RunError if it holds more than is left."""
        self.entries -= entries
        self.size_bytes -= size_bytes
        if self.entries < 0:
            raise RunError(f"{path}: refused, holds too many files")
        if self.size_bytes < 0:
            raise RunError(f"{path}: refused, far more data than it should hold")


@dataclass(frozen=True)
class Entry:
    """A regular file in an archive, with a path that stays below where it is unpacked."""

    parts: tuple[str, ...]
    size_bytes: int
    info: Any  # zipfile's or rarfile's own

    @property
    def name(self) -> str:
        return self.parts[-1]


@dataclass(frozen=True)
class Archive:
    """An open archive; `entries` are its regular files."""

    path: Path
    entries: tuple[Entry, ...]
    _handle: Any
    _scratch: Path | None

    def copy(self, entry: Entry, target: Path) -> None:
        """Unpack an entry to a new file; its checksum is verified.

        Raises:
            RunError: it is damaged, or holds more than it says, or a program is missing.
            OutputError: the file cannot be written.
        """
        done = 0
        with _plain_errors(self.path), _opened(self._handle, entry.info, self._scratch) as source:
            with write_errors(target):
                file = target.open("xb")
            with file:
                while block := source.read(_BLOCK):
                    done += len(block)
                    if done > entry.size_bytes:
                        break
                    with write_errors(target):
                        file.write(block)
        if done != entry.size_bytes:
            where = "/".join(entry.parts)
            raise RunError(f"{self.path}: damaged: {where} is not as long as the archive says")


@contextmanager
def open_archive(path: Path, budget: Budget, scratch: Path | None = None) -> Iterator[Archive]:
    """A zip or rar, by its content, not its name. All its entries are checked first.

    Args:
        budget: what it may hold; its contents are subtracted.
        scratch: a folder for temporary files.

    Raises:
        RunError: it is not an archive, is damaged or encrypted, or has an entry that must not be
            unpacked: a path that leaves the folder, a link or device, two entries with one name.
    """
    with _plain_errors(path):
        handle = _open(path, budget.entries)
    with handle:
        with _plain_errors(path):
            entries = tuple(_checked(path, handle))
        budget.spend(path, len(entries), sum(entry.size_bytes for entry in entries))
        yield Archive(path, entries, handle, scratch)


def room_for(folder: Path, size_bytes: int, what: str) -> None:
    """Check that the disk of `folder` has room for `what`. Raises OutputError."""
    free = shutil.disk_usage(folder).free
    if free < size_bytes + _SPARE:
        raise OutputError(
            f"{folder}: {what} needs {size_bytes / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "free some space, or name another folder"
        )


def _open(path: Path, most: int) -> Any:
    with path.open("rb") as file:
        start = file.read(len(_RAR_MAGIC))
    if start.startswith(_ZIP_MAGIC):
        return zipfile.ZipFile(path)
    if not start.startswith(_RAR_MAGIC):
        raise RunError(f"{path}: neither a zip nor a rar archive")
    seen = itertools.count(1)

    def count(info: Any) -> None:
        if next(seen) > 2 * most + 100:  # folders, comments and the like come along
            raise RunError(f"{path}: refused, holds too many files")

    # "strict": a damaged header is an error, not the end. part_only: look for no further volumes.
    return rarfile.RarFile(
        str(path.absolute()), info_callback=count, errors="strict", part_only=True
    )


def _checked(path: Path, handle: Any) -> Iterator[Entry]:
    files: set[str] = set()
    folders: set[str] = set()
    compressed = 0
    for info in handle.infolist():
        parts = _safe_parts(path, info.filename)
        is_folder = info.is_dir()
        if not is_folder:
            _check_plain(path, info)
            compressed += info.compress_type != _RAR_STORED
        key = unicodedata.normalize("NFC", "/".join(parts)).casefold()
        folders.update(key[: match.start()] for match in re.finditer("/", key))
        if is_folder:
            folders.add(key)
            continue
        if key in files:
            raise RunError(f"{path}: refused, two entries are called {'/'.join(parts)}")
        files.add(key)
        yield Entry(parts, info.file_size, info)
    if clash := files & folders:
        raise RunError(f"{path}: refused, both a file and a folder are called {min(clash)}")
    is_rar = not isinstance(handle, zipfile.ZipFile)
    if is_rar and compressed > _SOLID_MOST and handle.is_solid():
        raise RunError(
            f"{path}: a solid rar, which would take hours file by file; unpack it yourself in the "
            "--root folder, with `unrar x`, and run the same command again to check it"
        )


def _safe_parts(path: Path, name: str) -> tuple[str, ...]:
    """The parts of an entry's path. Raises RunError if it leads out of the folder that it is
    unpacked to, or is not a usable name."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    try:
        lengths = [len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        lengths = []
    bad = (
        not lengths
        or name.startswith("/")
        or ".." in parts
        or re.match("[A-Za-z]:", parts[0])
        or re.search(r"[\x00-\x1f\x7f\\]", name)
        or max(lengths) > 255
        or len(name) > 1000
    )
    if bad:
        raise RunError(f"{path}: refused, an entry is called {name[:200]!r}")
    return parts


def _check_plain(path: Path, info: Any) -> None:
    name = info.filename
    if isinstance(info, zipfile.ZipInfo):
        kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where files have no mode
        plain = True
        encrypted = bool(info.flag_bits & 1)
    else:
        kind = stat.S_IFMT(info.mode or 0) if info.host_os == 3 else 0
        plain = info.is_file() and not info.file_redir  # else a link, a copy, a junction
        encrypted = info.needs_password()
    if not plain or kind not in (0, stat.S_IFREG):
        raise RunError(f"{path}: refused, {name} is a link or a device, not a file")
    if encrypted:
        raise RunError(f"{path}: {name} is encrypted")


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    """Turns whatever zipfile and rarfile raise on damaged files into a RunError."""
    try:
        yield
    except VidlabelError:
        raise
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error
    except rarfile.RarCannotExec as error:
        raise RunError(
            f"{path}: unpacking this rar needs a program that is not installed: unrar, unar, "
            "7zip or bsdtar (`apt install unar`, `brew install unar`); install one and run the "
            "same command again"
        ) from error
    except Exception as error:
        program = ""
        if isinstance(error, rarfile.Error) and rarfile.CURRENT_SETUP is not None:
            # Some builds of 7z and bsdtar support only a few rars.
            name = getattr(rarfile, rarfile.CURRENT_SETUP.setup["open_cmd"][0])
            program = f", or {name} cannot unpack it (install unrar or unar)"
        why = str(error) or type(error).__name__
        raise RunError(f"{path}: damaged{program}: {why}; download it again") from error


@contextmanager
def write_errors(target: Path) -> Iterator[None]:
    """Turns an OSError into an OutputError that names the file or folder."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror}") from error


_RARFILE = threading.Lock()


@contextmanager
def _opened(handle: Any, info: Any, scratch: Path | None) -> Iterator[Any]:
    """The contents of an entry, as a file.

    rarfile copies a compressed entry to a temporary file for another program: /tmp may be too
    small for it, and unar finds no entry by its path in a whole archive. It takes the folder of
    that file, and the size up to which it makes one, from globals and nowhere else; they are set
    only while an entry is opened, by one thread at a time.
    """
    with _RARFILE:
        before = rarfile.HACK_TMP_DIR, rarfile.HACK_SIZE_LIMIT
        rarfile.HACK_TMP_DIR, rarfile.HACK_SIZE_LIMIT = scratch and os.fspath(scratch), 1 << 62
        try:
            source = handle.open(info)
        finally:
            rarfile.HACK_TMP_DIR, rarfile.HACK_SIZE_LIMIT = before
    with source:
        yield source
