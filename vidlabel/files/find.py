"""Find the videos that the inputs name, and check a file before it is opened."""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from vidlabel.errors import Reason, UsageError, VideoError
from vidlabel.files.metadata_tag import has_tag
from vidlabel.files.spelling import Spellings
from vidlabel.specs import VideoItem
from vidlabel.text import PathText, each_path, first_few, plural

_SUFFIXES = (
    ".3g2 .3gp .3gpp .3gpp2 .asf .avi .divx .dv .f4v .flv .h264 .h265 .hevc .insv .ivf .lrv .m1v "
    ".m2p .m2t .m2ts .m2v .m4v .mk3d .mkv .mod .mov .mp4 .mp4v .mpe .mpeg .mpg .mpv .mts .mxf .nut "
    ".obu .ogm .ogv .qt .rm .rmvb .tod .tp .trp .ts .vob .vro .webm .wmv .wtv .xvid"
)

VIDEO_SUFFIXES = frozenset(_SUFFIXES.split())
"""Suffixes, in lower case, of videos in folders. A file that is named itself is always taken."""


class LeftOut:
    """What is in the folders that were searched, and is not taken for a video to label."""

    def __init__(self) -> None:
        self.spellings = Spellings()
        self._suffixes: dict[str, str] = {}
        self._previews: set[str] = set()

    def add_other(self, key: str) -> None:
        """A file whose suffix is no video's; `key` is the same for all spellings of its path."""
        self._suffixes[key] = Path(key).suffix.lower() or "without a suffix"

    def add_preview(self, key: str) -> None:
        """A preview that vidlabel has made."""
        self._previews.add(key)

    def lines(self) -> list[str]:
        """What to tell the user, a line each; none if nothing was left out."""
        told = [f"inputs: {line}" for line in filter(None, [self.spellings.told()])]
        if count := len(self._previews):
            told.append(f"left out: {plural(count, 'preview')} that vidlabel has made")
        if self._suffixes:
            kinds = Counter(self._suffixes.values()).most_common()
            few = first_few([f"{number:,} {suffix}" for suffix, number in kinds], 8)
            told.append(f"left out, as their suffix is no video's: {few}")
        return told


def find_videos(
    inputs: PathText | Iterable[PathText],
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    suffixes: Collection[str] = VIDEO_SUFFIXES,
    left_out: LeftOut | None = None,
) -> list[VideoItem]:
    """Every video that the inputs name, once each, in a stable order.

    Folders are walked recursively in the byte order of their names; hidden files and folders are
    skipped and symbolic links followed, each folder once. Previews that vidlabel has made are
    left out, unless they are named. Inputs that do not exist, and folders that cannot be read, are
    in the list too, with the problem, so that they get a row. An input that exists only under
    another spelling (see `spelling`) is taken so.

    Args:
        inputs: folders, files, and globs (`**` is recursive), one or more; a name that exists is
            not a glob.
        include: globs, matched against the name and against the path below the input. Of the files
            in folders and of globs, only those that match one are taken, whatever their suffix.
        exclude: globs; files and folders that match one are left out, except files named as input.
        suffixes: of videos in folders, in lower case with the dot.
        left_out: is told what was left out.

    Raises:
        UsageError: a glob is empty.
    """
    if any(not pattern for pattern in (*include, *exclude)):
        raise UsageError("--include and --exclude need a pattern, such as '*.mp4'")
    left_out = left_out or LeftOut()
    chosen = _Chosen(include, exclude, suffixes, left_out)
    for text in each_path(inputs):
        if there := left_out.spellings.find(text):
            chosen.add_input(there, named=True)
        elif is_url(text):
            chosen.add(text, Reason.NOT_FOUND, why_absent(text))
        elif glob.has_magic(text):
            found = glob.iglob(text, recursive=True)  # noqa: PTH207  (Path.glob drops a leading ./)
            matches = sorted(found, key=os.fsencode)
            folder = len(re.split(r"[*?\[]", text, maxsplit=1)[0].rpartition("/")[0])
            for match in matches:
                chosen.add_input(match, named=False, below_at=folder + 1 if folder else 0)
            if not matches:
                chosen.add(text, Reason.NOT_FOUND, "no file matches this pattern")
        else:
            chosen.add(text, Reason.NOT_FOUND, why_absent(text))
    return [
        VideoItem(index, path, problem, detail, below_at=below_at)
        for index, (path, (problem, detail, below_at)) in enumerate(chosen.found.items())
    ]


def check_found(items: Sequence[VideoItem]) -> None:
    """Check that at least one input exists: else a typing error would replace a good output.

    Raises:
        UsageError: none does, with the nearest name that there is.
    """
    if not items or any(item.problem is not Reason.NOT_FOUND for item in items):
        return
    first = items[0]
    more = f" (nor any of {len(items) - 1:,} other inputs)" if len(items) > 1 else ""
    raise UsageError(f"{first.detail}{more}{did_you_mean(first.path)}")


def did_you_mean(path: str) -> str:
    """`; did you mean X?` with the path that exists and is most like one that does not; empty if
    none is like it."""
    place, steps = Path(), Path(path).parts
    for number, step in enumerate(steps):
        if os.path.lexists(place / step):
            place /= step
            continue
        try:
            there = os.listdir(place)[:10_000]  # noqa: PTH208  (more would take seconds)
        except OSError:
            return ""
        names = {name.casefold(): name for name in there}
        close = get_close_matches(step.casefold(), names, 1)
        if not close or glob.has_magic(step):
            return ""
        whole = (place / names[close[0]]).joinpath(*steps[number + 1 :])
        return f"; did you mean {whole if os.path.lexists(whole) else place / names[close[0]]}?"
    return ""


def why_absent(path: str, usual: str = "there is no such file or folder") -> str:
    """Why there is no such file: it may be an address, and the network is never used."""
    return "only local files are read; download it, and name the file" if is_url(path) else usual


def is_url(path: str) -> bool:
    """Whether a path looks like an address in a network."""
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path))


class _Chosen:
    """Collects paths in order, each once, under the include and exclude rules."""

    def __init__(
        self, include: Sequence[str], exclude: Sequence[str], suffixes: Collection[str],
        left_out: LeftOut,
    ) -> None:  # fmt: skip
        self.found: dict[str, tuple[Reason | None, str, int]] = {}
        self._include = include
        self._exclude = exclude
        self._suffixes = suffixes
        self._left_out = left_out
        self._keys: set[str] = set()
        self._folders: dict[str, str] = {}

    def add(
        self, path: str, problem: Reason | None = None, detail: str = "", below_at: int = 0
    ) -> None:
        key = self._key(path)
        if key not in self._keys:
            self._keys.add(key)
            self.found[path] = (problem, f"{path}: {detail}" if detail else "", below_at)

    def _key(self, path: str) -> str:
        """One key for all spellings of a path; a link to a file has another than its target."""
        folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], name)  # noqa: PTH118

    def add_input(self, path: str, named: bool, below_at: int = 0) -> None:
        """A file or folder that the user named, or that a glob matched."""
        if Path(path).is_dir():
            self._walk(path)
        elif named or self._takes(path, path):
            self.add(path, below_at=below_at)

    def _walk(self, root: str) -> None:
        # os.walk, since Path.walk needs Python 3.12. Visited folders are known by inode, so that
        # a link to a parent ends the descent and every folder is read once.
        seen: set[tuple[int, int]] = set()
        hollow: list[str] = []
        below_at = len(os.path.join(root, ""))  # noqa: PTH118
        unreadable = partial(self._unreadable, below_at)
        for folder, names, files in os.walk(root, onerror=unreadable, followlinks=True):
            try:
                place = os.stat(folder)  # noqa: PTH116
            except OSError as error:  # removed meanwhile
                unreadable(error)
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
                and self._takes(os.path.join(folder, n), self._below(folder, n, root))  # noqa: PTH118
            ]
            for name in sorted(files, key=os.fsencode):
                path = os.path.join(folder, name)  # noqa: PTH118
                if self._takes(path, self._below(folder, name, root)):
                    self.add(path, below_at=below_at)
        for path in hollow:  # a folder called x.mp4 is a mistake, unless it holds videos
            inside = self._key(path) + os.sep
            if not any(known.startswith(inside) for known in self._keys):
                self.add(path, Reason.NOT_REGULAR, "a folder, not a video", below_at)

    def _unreadable(self, below_at: int, error: OSError) -> None:
        reason = Reason.PERMISSION if isinstance(error, PermissionError) else Reason.NOT_FOUND
        why = f"this folder cannot be read: {error.strerror}"
        self.add(str(error.filename), reason, why, below_at)

    def _enters(self, folder: str, name: str, root: str) -> bool:
        below = self._below(folder, name, root)
        return not name.startswith(".") and not self._matches(self._exclude, name, below)

    @staticmethod
    def _below(folder: str, name: str, root: str) -> str:
        return os.path.relpath(os.path.join(folder, name), root)  # noqa: PTH118

    def _takes(self, path: str, below: str) -> bool:
        name = Path(path).name
        if name.startswith(".") or self._matches(self._exclude, name, below):
            return False
        if self._include and not self._matches(self._include, name, below):
            return False
        if has_tag(path):
            self._left_out.add_preview(self._key(path))
        elif not self._include and Path(name).suffix.lower() not in self._suffixes:
            self._left_out.add_other(self._key(path))
        else:
            return True
        return False

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
        why = why_absent(path, getattr(error, "strerror", None) or str(error))
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


def excerpt(path: str) -> str:
    """SHA-256 of 4 KiB from the start, the middle and the end of a file, hexadecimal: tells apart
    files of equal name, size and time, as where a tool sets all times alike. "" if there is no
    regular file, or it cannot be read."""
    digest = hashlib.sha256()
    if identity(path) is None:  # opening a pipe would block
        return ""
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            for start in (0, size // 2, max(0, size - 4096)):
                file.seek(start)
                digest.update(file.read(4096))
    except (OSError, ValueError):
        return ""
    return digest.hexdigest()
