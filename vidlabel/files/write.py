"""Write files atomically: as a whole or not at all."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from vidlabel.errors import OutputError, UsageError

FILE_SUFFIXES = (".jsonl", ".ledger", ".npz", ".parquet", ".pt", ".pth", ".safetensors", ".toml")
"""Suffixes of files that `mimetypes` may not know."""


def check_output(path: Path) -> None:
    """Check that an output can be written, before any work is done for it.

    Raises:
        OutputError: the folder is missing or not writable, or the path is a folder or a device.
    """
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        pass
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
    else:
        if stat.S_ISDIR(kind):
            raise OutputError(f"{path}: is a folder; name a file in it")
        if not stat.S_ISREG(kind):  # replacing /dev/null would break the machine
            raise OutputError(f"{path}: is a pipe or device; name a file")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}; create it first")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} cannot be written to")


def make_folder(folder: Path) -> None:
    """Make a folder and its parents where they are missing. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be created: {error.strerror}") from error


def check_folder_name(folder: Path, wanted: str = "a folder") -> None:
    """Refuse an output folder with the suffix of a file, such as one.png, unless it exists.

    Args:
        wanted: what --out can be.

    Raises:
        UsageError: the suffix is that of a known kind of file.
    """
    suffix = folder.suffix.lower()
    kind, _ = mimetypes.MimeTypes().guess_type(f"x{suffix}")
    if (kind or suffix in FILE_SUFFIXES) and not folder.is_dir():
        raise UsageError(f"--out {folder}: must be {wanted}, not a {suffix} file")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file through a temporary one beside it: readers see the old file or the new one.

    Yields the temporary path. If the block succeeds, its contents are flushed to the disk and it
    replaces `path` (of a link, the target) and takes its permissions; otherwise it is removed and
    `path` stays as it was.

    Raises:
        OutputError: the system refused to write, sync or rename.
    """
    check_output(path)
    target = path.resolve()
    prefix, suffix = _affixes(target)
    temporary = target.with_name(f"{prefix}{token_hex(4)}{suffix}")
    try:
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
        # The file that it replaces may be private.
        temporary.touch(0o666 if mode is None else 0o600, exist_ok=False)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, chunks: Iterable[bytes]) -> None:
    """Replace a file's contents as a whole. Raises OutputError as `replacing`."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.writelines(chunks)


def _sync_folder(folder: Path) -> None:
    """Make a renaming survive a power cut, if the file system can do that for a folder."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_leftovers(path: Path) -> None:
    """Remove temporary files that killed runs have left beside `path`.

    Only while `holding` the output: otherwise another run's file could be removed.
    """
    target = path.resolve()
    prefix, suffix = _affixes(target)
    with suppress(OSError):
        for entry in os.scandir(target.parent):
            if entry.name.startswith(prefix) and entry.name.endswith(suffix):
                with suppress(OSError):
                    Path(entry.path).unlink()


def _affixes(path: Path) -> tuple[str, str]:
    """How the names of the temporary files of an output begin and end."""
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()  # a long name has no room for more
    return f".vidlabel-{digest[:8]}-", f".part{path.suffix}"
