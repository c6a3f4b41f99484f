"""Put one video into its place, and take it back. Nothing is ever overwritten.

Each step may be the last before the process is killed; the same call goes on from there.
"""

from __future__ import annotations

import errno
import filecmp
import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

from vidlabel.errors import OutputError, VidlabelError
from vidlabel.files.find import identity
from vidlabel.files.write import UNSUPPORTED, cannot_write, flush, sync_folder
from vidlabel.sort.log import Entry

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""No other video can be written either."""

_CLOCK_NS = 2_000_000_000  # FAT keeps times to two seconds


class NotPlaced(VidlabelError):
    """One video stays where it is; the message says which, and why."""


def is_placed(entry: Entry, folder: Path) -> bool:
    """Whether there is something at the place of an entry."""
    return os.path.lexists(folder / entry.place)


def put(entry: Entry, folder: Path) -> None:
    """Do what an entry says, below the folder of the log.

    Raises:
        NotPlaced: this video cannot be placed; nothing has changed.
        OutputError: the disk is full or read-only.
    """
    source, place = Path(entry.source), folder / entry.place
    if entry.action == "link":
        try:
            place.symlink_to(source)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                raise NotPlaced(f"{place}: its file system has no links; use --copy") from error
            raise _refused(place, error) from error
    elif entry.action == "copy":
        _copy(source, place)
    elif place.exists():  # killed between the last two steps of a move
        _remove_twin(source, place)
    else:
        _move(source, place)


def take_back(entry: Entry, folder: Path) -> None:
    """Undo an entry; does nothing where it has not been done, or has been undone.

    Raises:
        NotPlaced: that would lose something, or is refused; all stays as it is.
        OutputError: the disk is full or read-only.
    """
    source, place = Path(entry.source), folder / entry.place
    for end in (place, source) if entry.action == "move" else (place,):
        with suppress(OSError):
            _partial(end).unlink(missing_ok=True)
    if not os.path.lexists(place):
        return
    if entry.action == "move":
        if source.exists() and _same(source, place):
            _remove_twin(place, source)
        elif os.path.lexists(source):
            raise NotPlaced(f"{place}: is kept, as there is another file at {source}")
        else:
            try:
                source.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _refused(source.parent, error) from error
            _move(place, source)
        return
    if entry.action == "link":
        if not (place.is_symlink() and str(place.readlink()) == entry.source):
            raise NotPlaced(f"{place}: is kept, as it is not the link that was made")
    elif not _is_copy(place, entry):
        raise NotPlaced(f"{place}: is kept, as it has been changed")
    elif identity(entry.source) != entry.identity:
        raise NotPlaced(f"{place}: is kept, as its original has been changed or removed")
    _unlink(place)


def _move(source: Path, place: Path) -> None:
    """Rename a file, or copy it to another file system and remove it there."""
    if source.is_symlink():
        raise NotPlaced(f"{source}: is a symbolic link, which is not moved; use --copy or --link")
    if not os.access(source.parent, os.W_OK):
        raise NotPlaced(f"{source}: its folder cannot be written to; use --copy or --link")
    _check_free(place)
    try:
        source.rename(place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise _refused(source, error) from error
    else:
        sync_folder(place.parent)
        return
    _copy(source, place)
    try:
        source.unlink()
    except OSError as error:
        with suppress(OSError):
            place.unlink()
        raise NotPlaced(f"{source}: cannot be moved: {error.strerror}") from error


def _copy(source: Path, place: Path) -> None:
    """Copy a file with its times and permissions; the copy is there as a whole or not at all."""
    _check_free(place)
    partial = _partial(place)
    try:
        try:
            partial.unlink(missing_ok=True)  # of a run that was killed; it may be read-only
            shutil.copyfile(source, partial)
            handle = os.open(partial, os.O_RDONLY)
            try:
                flush(handle)
            finally:
                os.close(handle)
            with suppress(OSError):  # a file system without them
                shutil.copystat(source, partial)
            _check_free(place)
            partial.rename(place)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        # Python names the source, also where the copy cannot be written.
        of_source = error.errno not in _FULL and error.filename == str(source)
        raise _refused(source if of_source else place, error) from error
    sync_folder(place.parent)


def _partial(place: Path) -> Path:
    """The hidden file in which a copy is made; the same each time, so that none is left over."""
    digest = hashlib.sha256(os.fsencode(place.name)).hexdigest()[:16]
    return place.with_name(f".vidlabel-{digest}.part")


def _check_free(place: Path) -> None:
    # Renaming would replace a file; no other vidlabel works in this folder at the same time.
    if os.path.lexists(place):
        raise NotPlaced(f"{place}: there is a file of this name by now; it is kept")


def _remove_twin(twin: Path, kept: Path) -> None:
    """Remove the file that a move has copied to `kept`, if it is still the same."""
    if os.path.lexists(twin):
        if not _same(twin, kept):
            raise NotPlaced(f"{kept}: there is a file of this name by now; it is kept")
        _unlink(twin)


def _same(one: Path, other: Path) -> bool:
    """Whether two files have the same contents; both are read."""
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


def _is_copy(place: Path, entry: Entry) -> bool:
    there = identity(str(place))
    return (
        there is not None
        and not place.is_symlink()
        and there[0] == entry.size
        and abs(there[1] - entry.mtime_ns) < _CLOCK_NS
    )


def _unlink(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> NotPlaced | OutputError:
    """The error to raise where the system refuses: of all videos, or of this one."""
    if error.errno in _FULL:
        return cannot_write(path, error)
    return NotPlaced(f"{path}: {error.strerror or error}")
