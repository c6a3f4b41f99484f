"""Names of files: made to fit where a folder does not take them, and still different."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Collection
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from secrets import token_hex

from vidlabel.text import safe

LONGEST = 255
"""Bytes of the longest name on most file systems."""

STATE_FOLDERS = ("_uncertain", "_failed")
"""Folders beside those of classes, of videos that have none; no class has such a folder."""

_RARE = re.compile(r'[^ -~]|[\\:*?"<>|]')
"""Characters that FAT, NTFS, network disks or other encodings may refuse."""
_REFUSED = (errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG)
_SUFFIX_BYTES = 16


def shortened(name: str, longest: int = LONGEST) -> str:
    """A name of at most `longest` bytes: if it is longer, its beginning, a hash of all of it, and
    its suffix."""
    return name if len(os.fsencode(name)) <= longest else _told_apart(name, name, longest)


def fitting(root: Path, path: Path) -> Path:
    """A path below a folder that exists, its names shortened where they are too long there, and
    without the characters that are refused there; the same one each time."""
    try:
        longest = os.pathconf(root, "PC_NAME_MAX")
    except (OSError, ValueError):
        longest = LONGEST
    names = []
    for name in path.relative_to(root).parts:
        if (rare := set(_RARE.findall(name))) and not _takes(root, "".join(sorted(rare)[:20])):
            name = _told_apart(name, _RARE.sub("_", name), longest)
        names.append(shortened(name, longest))
    return root.joinpath(*names)


def class_folder(label: str, reserved: Collection[str] = ()) -> str:
    """The name of the folder of a class: its own where that can be the name of a visible folder,
    and is none of STATE_FOLDERS or `reserved` (in lower case); otherwise one like it, with a hash
    that tells it apart."""
    like = re.sub(r"/|^[. ]+|[. ]+$", "_", "".join(c if safe(c) == c else "_" for c in label))
    taken = like.casefold() in (*STATE_FOLDERS, *reserved)
    # ASCII, since a label may hold surrogates that stand for no byte.
    return _told_apart(ascii(label), like, LONGEST) if like != label or taken else shortened(label)


@lru_cache(1024)  # a folder of thousands of such names has few sets of characters
def _takes(folder: Path, characters: str) -> bool:
    """Whether names in a folder may have such characters; tried with a file."""
    probe = folder / f".vidlabel-{token_hex(4)}{characters}.part"
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except OSError as error:
        return error.errno not in _REFUSED
    with suppress(OSError):
        probe.unlink()
    return True


def _told_apart(name: str, like: str, longest: int) -> str:
    """The beginning and the suffix of `like` with a hash of `name` between them."""
    suffix = Path(like).suffix
    if len(os.fsencode(suffix)) > _SUFFIX_BYTES:
        suffix = ""
    tail = f"~{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}{suffix}"
    head = os.fsencode(like.removesuffix(suffix))[: longest - len(os.fsencode(tail))]
    return head.decode("utf-8", "ignore") + tail
