"""Find the videos that the inputs name, and check a file before it is opened."""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from collections.abc import Collection, Sequence
from pathlib import Path

from vidlabel.errors import Reason, UsageError, VideoError
from vidlabel.specs import VideoItem

_SUFFIXES = (
    ".3g2 .3gp .asf .avi .divx .dv .flv .h264 .h265 .hevc .ivf .m2ts .m2v .m4v .mkv .mov .mp4 "
    ".mpe .mpeg .mpg .mts .mxf .nut .obu .ogm .ogv .rm .rmvb .ts .vob .webm .wmv .wtv .xvid"
)

VIDEO_SUFFIXES = frozenset(_SUFFIXES.split())
"""Suffixes, in lower case, of videos in folders. A file that is named itself is always taken."""


def find_videos(
    inputs: Sequence[str],
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    suffixes: Collection[str] = VIDEO_SUFFIXES,
) -> list[VideoItem]:
    """Every video that the inputs name, once each, in a stable order.

    Folders are walked recursively in the byte order of their names; hidden files and folders are
    skipped and symbolic links followed, each folder once. Inputs that do not exist, and folders
    that cannot be read, are in the list too, with the problem, so that they get a row.

    Args:
        inputs: folders, files, and globs (`**` is recursive); a name that exists is not a glob.
        include: globs, matched against the name and against the path below the input. Of the files
            in folders and of globs, only those that match one are taken, whatever their suffix.
        exclude: globs; files and folders that match one are left out, except files named as input.
        suffixes: of videos in folders, in lower case with the dot.

    Raises:
        UsageError: a glob is empty.
    """
    if any(not pattern for pattern in (*include, *exclude)):
        raise UsageError("--include and --exclude need a pattern, such as '*.mp4'")
    chosen = _Chosen(include, exclude, suffixes)
    for text in inputs:
        if os.path.lexists(text):
            chosen.add_input(text, named=True)
        elif glob.has_magic(text):
            found = glob.iglob(text, recursive=True)  # noqa: PTH207  (Path.glob drops a leading ./)
            matches = sorted(found, key=os.fsencode)
            for match in matches:
                chosen.add_input(match, named=False)
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
        """One key for all spellings of a path; a link to a file has another than its target."""
        folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], name)  # noqa: PTH118

    def add_input(self, path: str, named: bool) -> None:
        """A file or folder that the user named, or that a glob matched."""
        if Path(path).is_dir():
            self._walk(path)
        elif named or self._takes(Path(path).name, path):
            self.add(path)

    def _walk(self, root: str) -> None:
        # os.walk, since Path.walk needs Python 3.12. Visited folders are known by inode, so that
        # a link to a parent ends the descent and every folder is read once.
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


def check_video_file(path: str) -> os.stat_result:
    """Check that a path can be a video, without opening it: opening a FIFO would block forever.

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
    """Size in bytes and modification time in nanoseconds, by which an unchanged video is known.
    None if there is no regular file."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_size, status.st_mtime_ns
