"""Files: find the videos, look before opening, and write so that nothing is ever half there."""

from __future__ import annotations

import fcntl
import fnmatch
import glob
import hashlib
import os
import socket
import stat
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from vidlabel.errors import OutputError, Reason, UsageError, VideoError
from vidlabel.specs import VideoItem

_SUFFIXES = (
    ".3g2 .3gp .asf .avi .divx .dv .flv .h264 .h265 .hevc .ivf .m2ts .m2v .m4v .mkv .mov .mp4 "
    ".mpe .mpeg .mpg .mts .mxf .nut .obu .ogm .ogv .rm .rmvb .ts .vob .webm .wmv .wtv .xvid"
)
VIDEO_SUFFIXES = frozenset(_SUFFIXES.split())
"""Suffixes, in lower case, that make a file in a folder a video. A file that is named is always
taken, whatever its suffix."""


def find_videos(
    inputs: Sequence[str],
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    suffixes: Collection[str] = VIDEO_SUFFIXES,
) -> list[VideoItem]:
    """Every video that the inputs mean, once each, in a stable order.

    Folders are walked recursively in the byte order of their names; hidden files and folders are
    skipped and symbolic links followed, each folder once. What is named but is not there, and a
    folder that cannot be read, are in the list too, with the problem, so that they get a row.

    Args:
        inputs: folders, files, and globs (`**` is recursive) that no file is literally called.
        include: globs; of the files found in folders and by globs, only those that match one are
            taken, whatever their suffix. Matched against the name and the path below the input.
        exclude: globs; files and folders that match one are left out. Named files never are.
        suffixes: of what is a video in a folder, in lower case, with their dot.

    Raises:
        UsageError: a glob is empty.
    """
    if any(not pattern for pattern in (*include, *exclude)):
        raise UsageError("--include and --exclude need a pattern, such as '*.mp4'")
    chosen = _Chosen(include, exclude, suffixes)
    for text in inputs:
        if os.path.lexists(text):
            chosen.add_named(text)
        elif glob.has_magic(text):
            found = glob.iglob(text, recursive=True)  # noqa: PTH207  (Path.glob drops a leading ./)
            matches = sorted(found, key=os.fsencode)
            for match in matches:
                chosen.add_matched(match)
            if not matches:
                chosen.add(text, Reason.NOT_FOUND, "no file matches this pattern")
        else:
            chosen.add(text, Reason.NOT_FOUND, "there is no such file or folder")
    return [
        VideoItem(index, path, problem, detail)
        for index, (path, (problem, detail)) in enumerate(chosen.found.items())
    ]


class _Chosen:
    """Collects paths in order, each once, under the include and exclude rules."""

    def __init__(
        self, include: Sequence[str], exclude: Sequence[str], suffixes: Collection[str]
    ) -> None:
        self.found: dict[str, tuple[Reason | None, str]] = {}
        self._include = include
        self._exclude = exclude
        self._suffixes = suffixes
        self._keys: set[str] = set()
        self._folders: dict[str, str] = {}

    def add(self, path: str, problem: Reason | None = None, detail: str = "") -> None:
        key = self._key(path)
        if key not in self._keys:
            self._keys.add(key)
            self.found[path] = (problem, f"{path}: {detail}" if detail else "")

    def _key(self, path: str) -> str:
        """The same for all ways to write a path; a link to a file is not its target."""
        folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], name)  # noqa: PTH118

    def add_named(self, path: str) -> None:
        """A file or folder that the user named."""
        if Path(path).is_dir():
            self._walk(path)
        else:
            self.add(path)

    def add_matched(self, path: str) -> None:
        """A file or folder that a glob gave."""
        if Path(path).is_dir():
            self._walk(path)
        elif self._takes(Path(path).name, path):
            self.add(path)

    def _walk(self, root: str) -> None:
        # os.walk with scandir's names; Path.walk is 3.12. Visited folders are known by inode, so
        # that a link to a parent ends the descent and every folder is read once.
        seen: set[tuple[int, int]] = set()
        hollow: list[str] = []
        for folder, names, files in os.walk(root, onerror=self._unreadable, followlinks=True):
            try:
                place = os.stat(folder)  # noqa: PTH116
            except OSError as error:  # removed meanwhile
                self._unreadable(error)
                continue
            identity = (place.st_dev, place.st_ino)
            if identity in seen:
                names.clear()
                continue
            seen.add(identity)
            names[:] = sorted((n for n in names if self._enters(folder, n, root)), key=os.fsencode)
            hollow += [
                os.path.join(folder, n)  # noqa: PTH118  (keeps ./ and .. as the user wrote them)
                for n in names
                if Path(n).suffix.lower() in self._suffixes
                and self._takes(n, os.path.relpath(os.path.join(folder, n), root))  # noqa: PTH118
            ]
            for name in sorted(files, key=os.fsencode):
                path = os.path.join(folder, name)  # noqa: PTH118
                if self._takes(name, os.path.relpath(path, root)):
                    self.add(path)
        for path in hollow:  # a folder called x.mp4 is a mistake, unless it holds videos
            inside = self._key(path) + os.sep
            if not any(known.startswith(inside) for known in self._keys):
                self.add(path, Reason.NOT_REGULAR, "a folder, not a video")

    def _unreadable(self, error: OSError) -> None:
        reason = Reason.PERMISSION if isinstance(error, PermissionError) else Reason.NOT_FOUND
        self.add(str(error.filename), reason, f"this folder cannot be read: {error.strerror}")

    def _enters(self, folder: str, name: str, root: str) -> bool:
        below = os.path.relpath(os.path.join(folder, name), root)  # noqa: PTH118
        return not name.startswith(".") and not self._matches(self._exclude, name, below)

    def _takes(self, name: str, below: str) -> bool:
        if name.startswith(".") or self._matches(self._exclude, name, below):
            return False
        if self._include:
            return self._matches(self._include, name, below)
        return Path(name).suffix.lower() in self._suffixes

    @staticmethod
    def _matches(patterns: Sequence[str], name: str, below: str) -> bool:
        return any(fnmatch.fnmatchcase(name, p) or fnmatch.fnmatchcase(below, p) for p in patterns)


def read_list(data: bytes) -> list[str]:
    """Paths from a list: one a line, or separated by NUL as `find -print0` writes them."""
    parts = data.split(b"\0") if b"\0" in data else data.splitlines()
    return [os.fsdecode(part) for part in parts if part.strip()]


def check_video_file(path: str) -> os.stat_result:
    """Refuse, without opening it, what cannot be a video: opening a FIFO would block for ever.

    Raises:
        VideoError: not_found, permission, not_regular or empty.
    """
    try:
        status = os.stat(path)  # noqa: PTH116  (any bytes; Path would do the same)
    except PermissionError as error:
        raise VideoError(Reason.PERMISSION, f"{path}: permission denied") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise VideoError(Reason.NOT_FOUND, f"{path}: {why}") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise VideoError(Reason.NOT_REGULAR, f"{path}: {kind}, not a video file")
    if status.st_size == 0:
        raise VideoError(Reason.EMPTY, f"{path}: the file is empty")
    return status


def identity(path: str) -> tuple[int, int] | None:
    """Size in bytes and time of the last change in nanoseconds: a file with both the same is the
    same video. None where there is no regular file."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_size, status.st_mtime_ns


def text_path(path: str) -> str:
    """A path as valid UTF-8 text; bytes that are not UTF-8 become `\\xNN`."""
    try:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a surrogate that stands for no byte; no file has such a name
        return path.encode("utf-8", "backslashreplace").decode("utf-8")


def check_output(path: Path) -> None:
    """Refuse an output that could not be written, before any work is done for it.

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
        raise OutputError(f"{path}: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} cannot be written to")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file by way of a temporary one beside it: readers see the old file or the new one.

    Yields the temporary path. When the block ends well its contents are flushed to the disk and
    it is renamed over `path`, whose permissions it keeps (a link's target is what is replaced);
    otherwise it is removed and `path` stays as it was.

    Raises:
        OutputError: the system refused to write, sync or rename.
    """
    check_output(path)
    target = path.resolve()
    try:
        handle, name = tempfile.mkstemp(_part_suffix(target), _part_prefix(target), target.parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(_mode(target))
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a renaming outlast a power cut, where the file system can do that for a folder."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_leftovers(path: Path) -> None:
    """Remove what runs that were killed while they wrote `path` have left beside it.

    Only for who holds the output (`holding`): it would take another run's file away.
    """
    target = path.resolve()
    with suppress(OSError):
        for entry in os.scandir(target.parent):
            if entry.name.startswith(_part_prefix(target)) and entry.name.endswith(
                _part_suffix(target)
            ):
                with suppress(OSError):
                    Path(entry.path).unlink()


def _part_prefix(path: Path) -> str:
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()  # a long name has no room for more
    return f".vidlabel-{digest[:8]}-"


def _part_suffix(path: Path) -> str:
    return ".part" + path.suffix


_MASK = threading.Lock()
"""Held while the process has no mask, which another thread must not take for the true one."""


def _mode(path: Path) -> int:
    """Permissions of a file, or those that a new one gets (a temporary file's are private)."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    with _MASK:
        mask = os.umask(0)
        os.umask(mask)
    return 0o666 & ~mask


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Keep every other process of vidlabel from working on `path` meanwhile.

    The lock is the system's, on a small file beside `path` that says who holds it, and ends with
    this process however it ends; the file itself is no lock. On a file system without locks there
    is none.

    Raises:
        OutputError: another process holds it, or the lock file cannot be made.
    """
    place = path.with_name(f".{path.name}.lock")
    try:
        handle = _lock(place)
    except BlockingIOError:
        raise OutputError(
            f"{path}: in use by {_holder(place)}; wait for it to end, or name another output"
        ) from None
    except OSError as error:
        raise OutputError(f"{place}: cannot be written: {error.strerror}") from error
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
            except OSError:  # this file system has no locks
                failed.pop_all()
                return handle
            if _is_at(handle, place):  # else its last holder removed it before we had it
                failed.callback(place.unlink)
                os.ftruncate(handle, 0)
                os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                failed.pop_all()
                return handle


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


def write_bytes(path: Path, chunks: Iterable[bytes]) -> None:
    """Replace a file's contents as a whole. Raises OutputError as `replacing`."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
