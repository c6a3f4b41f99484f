"""Write files atomically: as a whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mimetypes
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from vidlabel.errors import OutputError, PlaceRefused, UsageError

FILE_SUFFIXES = (".jsonl", ".ledger", ".npz", ".parquet", ".pt", ".pth", ".safetensors", ".toml")
"""Suffixes of files that `mimetypes` may not know."""

UNSUPPORTED = frozenset(
    {errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV}
)
"""Error numbers by which a file system says that it cannot do something at all."""

_RANDOM = 8  # characters between the beginning and the end of a temporary file's name
_SUFFIX_CHARACTERS = 16  # what comes after a dot may be the rest of a sentence

_OF_THE_NAME = frozenset(
    {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ELOOP}
    | {errno.EEXIST, errno.EISDIR, errno.ENOTDIR}  # something else is there
)


def cannot_write(path: Path, error: OSError) -> OutputError:
    """The error to raise where the system refuses to write an output: what, why, what to do."""
    advice = ""
    if error.errno in UNSUPPORTED:
        advice = "; its file system cannot do this: name an --out on a local disk, and copy it"
    elif error.errno == errno.EBUSY:
        advice = "; if it is a mount point, mount its folder instead"
    kind = PlaceRefused if error.errno in _OF_THE_NAME else OutputError
    return kind(f"{path}: cannot be written: {error.strerror or error}{advice}")


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
        raise cannot_write(path, error) from error
    else:
        if stat.S_ISDIR(kind):
            raise PlaceRefused(f"{path}: is a folder; name a file in it")
        if not stat.S_ISREG(kind):  # replacing /dev/null would break the machine
            raise PlaceRefused(f"{path}: is a pipe or device; name a file")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}; create it first")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} cannot be written to")


def make_folder(folder: Path) -> None:
    """Make a folder and its parents where they are missing. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        kind = PlaceRefused if error.errno in _OF_THE_NAME else OutputError
        raise kind(f"{folder}: cannot be created: {error.strerror}") from error


def check_folder_name(folder: Path, wanted: str = "a folder") -> None:
    """Refuse an output folder with the suffix of a file, such as one.png, unless it exists.

    Args:
        wanted: what --out can be.

    Raises:
        UsageError: the suffix is that of a known kind of file.
    """
    if names_a_file(folder):
        raise UsageError(f"--out {folder}: must be {wanted}, not a {folder.suffix.lower()} file")


def names_a_file(path: Path) -> bool:
    """Whether a path has the suffix of a known kind of file, and is no folder."""
    suffix = path.suffix.lower()
    kind, _ = mimetypes.MimeTypes().guess_type(f"x{suffix}")
    return bool(kind or suffix in FILE_SUFFIXES) and not path.is_dir()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file through a temporary one beside it: readers see the old file or the new one.

    Yields the temporary path. If the block succeeds, its contents are flushed to the disk and it
    replaces `path` (of a link, the target) and takes its permissions; otherwise it is removed and
    `path` stays as it was. Flushing and permissions are left out on a file system without them.

    Raises:
        OutputError: the system refused to write, sync or rename.
    """
    check_output(path)
    target = path.resolve()
    prefix, suffix = _affixes(target)
    temporary = target.with_name(f"{prefix}{token_hex(_RANDOM // 2)}{suffix}")
    try:
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
        # The file that it replaces may be private.
        temporary.touch(0o666 if mode is None else 0o600, exist_ok=False)
        yield temporary
        with temporary.open("rb+") as file:
            flush(file.fileno())
        if mode is not None:
            with suppress(OSError):  # where nobody may set it, the folder's own mode has to do
                temporary.chmod(mode)
        temporary.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, chunks: Iterable[bytes]) -> None:
    """Replace a file's contents as a whole. Raises OutputError as `replacing`."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.writelines(chunks)


def flush(handle: int) -> bool:
    """Flush a file to the disk; False on a file system that cannot. Raises OSError."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    return True


def abilities(folder: Path) -> tuple[bool, bool]:
    """Whether the file system of a folder has locks (of fcntl), and whether it can flush files to
    the disk. True where that cannot be found out."""
    locks = flushes = True
    with suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            locks = False
        flushes = flush(file.fileno())
    return locks, flushes


def sync_folder(folder: Path) -> None:
    """Make a renaming survive a power cut, if the file system can do that for a folder."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_leftovers(*paths: Path) -> None:
    """Remove temporary files that killed runs have left beside outputs.

    Only while `holding` the outputs: otherwise another run's files could be removed.
    """
    folders: dict[Path, set[tuple[str, str]]] = {}
    for path in paths:
        target = path.resolve()
        folders.setdefault(target.parent, set()).add(_affixes(target))
    for folder, affixes in folders.items():
        with suppress(OSError):
            for entry in os.scandir(folder):
                if _parted(entry.name) in affixes:
                    with suppress(OSError):
                        Path(entry.path).unlink()


def _affixes(path: Path) -> tuple[str, str]:
    """How the names of the temporary files of an output begin and end."""
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()  # a long name has no room for more
    suffix = path.suffix if len(path.suffix) <= _SUFFIX_CHARACTERS else ""
    return f".vidlabel-{digest[:8]}-", f".part{suffix}"


def _parted(name: str) -> tuple[str, str]:
    """How a name begins and ends, as `_affixes` gives it for the name of a temporary file."""
    head, mark, suffix = name.partition(".part")
    return head[:-_RANDOM], mark + suffix
